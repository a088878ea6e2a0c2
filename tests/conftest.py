"""What holds for all tests."""

import functools
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

# before anybody imports torch: servers, browsers and tests share few cores, and idle threads that spin would take them
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The name by which Starlette's test client calls every server; where nobody signs in, names have to be known.
os.environ.setdefault("KEYSCOPE_TRUSTED_HOSTS", "testserver")

SHARED = "keyscope"
"""The database of the tests on PostgreSQL."""


def pytest_configure() -> None:
    stay_on_this_machine()
    # Each HTTP client would read all root certificates anew, which takes longer than most tests; none speaks TLS.
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    # A shell starts what it puts into the background deaf to Ctrl-C, and so would be what tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with one database of this version's schema, `SHARED`, which every test leaves as it was."""
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
    """An SQLite file of this version's schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "labels.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of an empty labels database of this version's schema in a file."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'labels.sqlite')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty labels database of this version's schema, once of either kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server: Server = request.getfixturevalue("postgres")
    yield server.url(SHARED)
    server.empty(SHARED)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty labels database, once of either kind."""
    database = Database(database_url)
    yield database
    database.close()
