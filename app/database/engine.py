"""The labels database: its address, schema and transactions."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from keyscope import migrations
from keyscope.contract.errors import KeyscopeError

Result = TypeVar("Result")
ATTEMPTS = 10
"""How often a write is retried when other writers come first."""
BUSY_SECONDS = 30
"""How long one SQLite writer waits for another."""


class DatabaseUnavailable(KeyscopeError, status=503):
    """The labels database cannot be used at the moment."""


class ConnectionLost(DatabaseUnavailable, code="database_connection_lost"):
    """The database server closed the connection."""


class SchemaBehind(DatabaseUnavailable, code="database_behind"):
    """The schema of the labels database is not the one this version needs."""


class InvalidDatabaseUrl(KeyscopeError, ValueError, status=500):
    """The address of the database is not valid."""


class Database:
    """The labels database; connects when first used."""

    def __init__(self, url: str) -> None:
        self.url = database_url(url)
        self.engine = make_engine(self.url)
        self._checked = False

    def create_missing(self) -> None:
        """Make the file of an SQLite database if it does not exist; other databases are left alone.

        Raises:
            DatabaseUnavailable: the file cannot be written.
        """
        path = self.url.database
        if self.url.get_backend_name() == "sqlite" and path and not Path(path).exists():
            upgrade(self.url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back after an error.

        Raises:
            SchemaBehind: the schema is not this version's.
            DatabaseUnavailable: the database is locked, read-only or unreachable.
        """
        try:
            self._check_schema()
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            if not _is_unavailable(error):
                raise
            raise _unavailable(self.url, error) from error

    def read(self, work: Callable[[Session], Result]) -> Result:
        """Run `work` in a transaction and return its result; retry once if the connection was lost.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        try:
            with self.transaction() as session:
                return work(session)
        except ConnectionLost:
            with self.transaction() as session:
                return work(session)

    def write(self, work: Callable[[Session], Result]) -> Result:
        """Run `work` in a transaction and return its result.

        `work` is retried when another writer came first, and once if the connection was lost before `work` had
        finished. If it is lost during the commit, nobody knows whether the commit took place, so that is an error.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        lost = False
        for attempt in count(1):
            done = False
            try:
                with self.transaction() as session:
                    result = work(session)
                    done = True
                return result
            except IntegrityError:
                if attempt == ATTEMPTS:
                    raise
            except ConnectionLost:
                if done or lost:
                    raise
                lost = True
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self.engine.dispose()

    def _check_schema(self) -> None:
        if self._checked:
            return
        with self.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        head = ScriptDirectory.from_config(_config(self.url)).get_current_head()
        if found != head:
            raise SchemaBehind(
                f"the labels database has schema {found or 'none'}, this Keyscope needs {head}: "
                "run `keyscope db upgrade`, then try again"
            )
        self._checked = True


def database_url(text: str) -> URL:
    """The address for SQLAlchemy, with psycopg as the driver of PostgreSQL.

    Raises:
        InvalidDatabaseUrl: the address is not one of SQLite or PostgreSQL.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidDatabaseUrl(
            f"{text!r} is not the address of a database: write sqlite:///FILE or postgresql://…"
        ) from error
    backend = url.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidDatabaseUrl(f"{backend} is not supported: write sqlite:///FILE or postgresql://…")
    return url


def make_engine(url: URL) -> Engine:
    """An engine; SQLite is put in WAL mode, so readers never wait for a writer."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def upgrade(url: URL | str, revision: str = "head") -> None:
    """Bring a database's schema up to this version's; make the SQLite file if it is missing.

    Raises:
        DatabaseUnavailable: the database cannot be reached or written.
    """
    url = database_url(url) if isinstance(url, str) else url
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        command.upgrade(_config(url), revision)
    except OperationalError as error:
        raise _unavailable(url, error) from error


def downgrade(url: URL | str, revision: str) -> None:
    """Take the schema back to an earlier revision."""
    command.downgrade(_config(database_url(url) if isinstance(url, str) else url), revision)


def _config(url: URL) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # SQLite itself lowers ASCII alone, PostgreSQL every letter.
    connection.create_function("lower", 1, lambda text: text and str(text).lower(), deterministic=True)


def _is_unavailable(error: DBAPIError) -> bool:
    """Whether the database failed, rather than one of our statements."""
    # A file that is not a database raises DatabaseError itself; failing statements raise subclasses of it.
    return isinstance(error, OperationalError) or error.connection_invalidated or type(error) is DatabaseError


def _unavailable(url: URL, error: DBAPIError) -> DatabaseUnavailable:
    cause = str(error.orig).strip().splitlines()[0]
    place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    lost = error.connection_invalidated
    return (ConnectionLost if lost else DatabaseUnavailable)(
        f"the labels database {place} {'closed the connection' if lost else 'cannot be used'}: {cause}; "
        "try again, or check that it can be reached and written"
    )
