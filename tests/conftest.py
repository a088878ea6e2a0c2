"""Fixtures and rules for all tests."""

import functools
import gc
import os
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.app.database.engine import Database, upgrade
from tests.network import stay_on_this_machine
from tests.postgres import NoServer, Server, postgresql

# Set before torch is imported: its idle threads would otherwise spin on cores that servers and browsers need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Starlette's test client calls every server by this name; without sign-in, the app only answers to names it knows.
os.environ.setdefault("KEYSCOPE_TRUSTED_HOSTS", "testserver")

SHARED = "keyscope"
"""The PostgreSQL database that tests use."""


def pytest_configure() -> None:
    stay_on_this_machine()
    # Every HTTP client loads the root certificates, which takes longer than most tests do, and no test uses TLS.
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    # Shells start background jobs with SIGINT ignored, and the processes that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What is imported and collected stays to the end: searching it for cycles takes a quarter of the time to collect it.
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with one migrated database, `SHARED`, which each test leaves empty."""
    try:
        with postgresql() as server:
            server.create(SHARED)
            upgrade(server.url(SHARED))
            yield server
    except NoServer as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy: copying is much faster than migrating."""
    path = tmp_path_factory.mktemp("sqlite") / "labels.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of an empty labels database in an SQLite file."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'labels.sqlite')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty labels database: each test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: Server = request.getfixturevalue("postgres")
    yield server.url(SHARED)
    server.empty(SHARED)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty labels database: each test runs once on SQLite and once on PostgreSQL."""
    database = Database(database_url)
    yield database
    database.close()
