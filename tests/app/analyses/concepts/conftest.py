"""A client on copies of the small runs: alpha has loops and numpy computed, gated has not."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.concepts import write_concepts

LAYERS, KEYS = 2, 6


@contextmanager
def _serving(runs: Path, folder: Path) -> Iterator[TestClient]:
    shutil.copytree(runs, folder / "runs")
    write_concepts(folder / "runs" / "alpha.duckdb", LAYERS, KEYS)
    settings = Settings(runs=folder / "runs", database_url=f"sqlite:///{folder}/labels.sqlite")
    with TestClient(create_app(settings), headers={"X-Keyscope-Person": "Ada"}) as client:
        yield client


@pytest.fixture(scope="session")
def computed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """For tests that change nothing."""
    with _serving(runs_dir, tmp_path_factory.mktemp("concepts")) as client:
        yield client


@pytest.fixture
def concepts(runs_dir: Path, tmp_path: Path) -> Iterator[TestClient]:
    """For tests that save concepts or add analyses."""
    with _serving(runs_dir, tmp_path) as client:
        yield client
