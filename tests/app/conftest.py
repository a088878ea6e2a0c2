import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.accounts import people
from keyscope.app.accounts.passwords import hash_password
from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.app.settings import Settings
from tests.runs import Shape, build_run

PASSWORD = "correct horse battery"


def empty(url: str) -> None:
    """Delete every row of an SQLite labels database and number from 1 again; apps may have it open."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'alembic_version'")
        for (name,) in tables.fetchall():
            connection.execute(f'DELETE FROM "{name}"')
        connection.commit()


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: alpha (2 layers of 6 keys, BOS) and gated (3 layers of 5 keys, both polarities, no BOS)."""
    directory = tmp_path_factory.mktemp("runs")
    build_run(directory / "alpha.duckdb")
    build_run(directory / "gated.duckdb", Shape(layers=3, keys=5, seed=1, gated=True, bos=False))
    return directory


@pytest.fixture(scope="session")
def weights(runs_dir: Path) -> dict[str, str]:
    """The sha256 of each run's weights; the files are closed again, for a process opens each only once."""
    registry = Registry(runs_dir)
    found = {run.run_id: run.manifest.model.weights_sha256 for run in registry.all()[0]}
    registry.close()
    return found


@pytest.fixture(scope="module")
def labels_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A labels database that the tests of one module share, each of which finds it empty."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('labels'))}"


@pytest.fixture(scope="module")
def module_settings(runs_dir: Path, labels_url: str) -> Settings:
    """Settings of the app that the tests of one module share; a module that needs others overrides this."""
    return Settings(runs=runs_dir, database_url=labels_url)


@pytest.fixture
def settings(module_settings: Settings) -> Iterator[Settings]:
    """The settings of the shared app, for tests that start one themselves; its database is emptied afterwards."""
    yield module_settings
    empty(module_settings.labels_url)


@pytest.fixture(scope="module")
def started(module_settings: Settings) -> Iterator[TestClient]:
    """The app that the tests of one module share: starting it and opening its runs costs more than most tests."""
    with TestClient(create_app(module_settings)) as started:
        yield started


@pytest.fixture
def client(started: TestClient, settings: Settings) -> TestClient:
    """A new client of the shared app, whose database is empty."""
    client = TestClient(started.app)
    client.portal = started.portal  # the event loop in which the app started
    return client


@pytest.fixture(scope="session")
def reader(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client shared by tests that change nothing, on run files of its own: DuckDB opens a file once a process."""
    directory = tmp_path_factory.mktemp("reader")
    shutil.copytree(runs_dir, directory / "runs")
    settings = Settings(runs=directory / "runs", database_url=f"sqlite:///{directory}/labels.sqlite")
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], TestClient]]:
    """Makes clients of one server on which people sign in: Ada, an admin, may do so. It has no runs."""
    directory = tmp_path_factory.mktemp("guarded")
    settings = Settings(runs=directory, database_url=f"sqlite:///{directory}/labels.sqlite", accounts="accounts")
    app = create_app(settings)
    with TestClient(app):
        hashed = hash_password(PASSWORD)
        app.state.database.write(lambda session: people.add(session, "Ada", Role.ADMIN, hashed))
        yield lambda: TestClient(app)


@pytest.fixture
def stranger(guarded: Callable[[], TestClient]) -> TestClient:
    """Somebody who has not signed in where people do."""
    return guarded()


@pytest.fixture
def admin(guarded: Callable[[], TestClient]) -> TestClient:
    """Ada, signed in."""
    client = guarded()
    answer = client.post("/sign-in", data={"name": "Ada", "password": PASSWORD})
    assert answer.url.path == "/"
    return client


@pytest.fixture
def registry(runs_dir: Path) -> Iterator[Registry]:
    registry = Registry(runs_dir)
    yield registry
    registry.close()


@pytest.fixture
def alpha(registry: Registry) -> Run:
    return registry.get("alpha")


@pytest.fixture
def gated(registry: Registry) -> Run:
    return registry.get("gated")
