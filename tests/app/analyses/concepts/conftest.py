"""A client on copies of the small runs: alpha has loops and numpy computed, gated has not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.app.copies import app_on_copies
from tests.made.concepts import write_concepts

LAYERS, KEYS = 2, 6


def write(alpha: Path) -> None:
    write_concepts(alpha, LAYERS, KEYS)


@pytest.fixture(scope="session")
def computed(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """For tests that change nothing."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("concepts"), write, person="Ada") as client:
        yield client


@pytest.fixture
def concepts(runs_dir: Path, tmp_path: Path) -> Iterator[TestClient]:
    """For tests that save concepts or add analyses."""
    with app_on_copies(runs_dir, tmp_path, write, person="Ada") as client:
        yield client
