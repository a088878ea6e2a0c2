"""Apps on copies of the small runs, to which analyses are added."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient

from keyscope.app.main import create_app
from keyscope.app.settings import Settings


@contextmanager
def app_on_copies(
    runs_dir: Path, folder: Path, *analyses: Callable[[Path], object], person: str | None = None
) -> Iterator[TestClient]:
    """A client, with a person's name, of an app in a folder of its own; the functions add analyses to alpha."""
    shutil.copytree(runs_dir, folder / "runs")
    for add in analyses:
        add(folder / "runs" / "alpha.duckdb")
    settings = Settings(runs=folder / "runs", database_url=f"sqlite:///{folder}/labels.sqlite")
    with TestClient(create_app(settings), headers={"X-Keyscope-Person": person} if person else None) as client:
        yield client
