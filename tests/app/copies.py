"""Apps on copies of the small runs, with analyses added."""

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
    """A client of an app on copies of the runs in `folder`; `analyses` write theirs next to alpha, `person` is who asks."""
    shutil.copytree(runs_dir, folder / "runs")
    for add in analyses:
        add(folder / "runs" / "alpha.duckdb")
    settings = Settings(runs=folder / "runs", database_url=f"sqlite:///{folder}/labels.sqlite")
    with TestClient(create_app(settings), headers={"X-Keyscope-Person": person} if person else None) as client:
        yield client
