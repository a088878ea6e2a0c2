"""How often a request asks the run file: what a page costs on any machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi.testclient import TestClient

from keyscope.app.queries import tokens, windows
from keyscope.app.runs import Run
from tests.app.copies import app_on_copies

ONCE_A_RUN = (tokens.VOCABULARY, windows.FILES, windows.COUNT)
"""Asked by the first request alone."""


class Counting:
    """A cursor that notes what it is asked."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, asked: list[str]) -> None:
        self._cursor, self._asked = cursor, asked

    def execute(self, sql: str, *parameters: object) -> duckdb.DuckDBPyConnection:
        self._asked.append(sql)
        return self._cursor.execute(sql, *parameters)

    def __enter__(self) -> "Counting":
        return self

    def __exit__(self, *_error: object) -> None:
        self._cursor.close()


@pytest.fixture(scope="module")
def reader(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An app of this module's own, which remembers nothing of other tests' keys."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("reader")) as client:
        yield client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs are asked during a test."""
    found: list[str] = []
    reading = Run.reading

    def counted(run: Run) -> Any:
        return Counting(reading(run), found)

    monkeypatch.setattr(Run, "reading", counted)
    return found


@pytest.mark.parametrize(
    ("address", "most"),
    [
        ("/runs/alpha/keys/L0.K3", 3),  # the documents of its block, its first examples, their windows
        ("/api/v1/runs/alpha/keys/L0.K4", 3),  # the same with all its examples
        ("/runs/alpha/keys/L0.K5/card", 3),
    ],
)
def test_a_key_not_shown_before_takes_three_lookups(
    reader: TestClient, asked: list[str], address: str, most: int
) -> None:
    assert reader.get(address).status_code == 200
    about_the_key = [sql for sql in asked if sql not in ONCE_A_RUN]
    assert 1 <= len(about_the_key) <= most, about_the_key


def test_a_search_is_asked_once(reader: TestClient, asked: list[str]) -> None:
    for _ in range(2):
        assert reader.get("/runs/alpha/search?dead=no&layer_from=0").status_code == 200
        before, asked[:] = len(asked), []
    assert before == 0
