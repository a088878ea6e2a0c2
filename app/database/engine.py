"""The labels database: its address, its schema and its transactions."""

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
"""How often a change is tried before other writers win."""
BUSY_SECONDS = 30
"""How long a writer of SQLite waits for another one."""


class DatabaseUnavailable(KeyscopeError):
    """The labels database cannot be used now."""

    code = "database_unavailable"
    status = 503


class ConnectionLost(DatabaseUnavailable):
    """The server of the labels database closed the connection."""

    code = "database_connection_lost"


class SchemaBehind(DatabaseUnavailable):
    """The labels database was made by another version."""

    code = "database_behind"


class InvalidDatabaseUrl(KeyscopeError, ValueError):
    """An address of a database that cannot be read."""

    code = "invalid_database_url"
    status = 500


class Database:
    """One labels database; connections are made when they are needed."""

    def __init__(self, url: str) -> None:
        self.url = database_url(url)
        self.engine = make_engine(self.url)
        self._checked = False

    def create_missing(self) -> None:
        """Make the file of an SQLite database that is not there yet; every other database is left as it is.

        Raises:
            DatabaseUnavailable: the file cannot be written.
        """
        path = self.url.database
        if self.url.get_backend_name() == "sqlite" and path and not Path(path).exists():
            upgrade(self.url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that is committed at the end, once; rolled back after an error.

        Raises:
            SchemaBehind: the schema is not the one of this version.
            DatabaseUnavailable: the database is locked, read-only or not reachable.
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
        """What `work` answers from a transaction of its own, asked once more where the connection was lost.

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
        """What `work` answers from a transaction of its own.

        It runs again where another writer was there first, and once more where the connection was lost before the end
        of `work`. A connection lost in the commit leaves open whether it took place, so that is an error.

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
        raise AssertionError("an attempt is the last")

    def close(self) -> None:
        """Close all connections."""
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
    """The address as SQLAlchemy takes it, PostgreSQL through psycopg.

    Raises:
        InvalidDatabaseUrl: it is no address of SQLite or PostgreSQL.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidDatabaseUrl(f"{text!r} is no database: write sqlite:///FILE or postgresql://…") from error
    backend = url.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise InvalidDatabaseUrl(f"{backend} is not supported: write sqlite:///FILE or postgresql://…")
    return url


def make_engine(url: URL) -> Engine:
    """An engine; one of SQLite in WAL mode, so that readers never wait for a writer."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def upgrade(url: URL | str, revision: str = "head") -> None:
    """Bring the schema of a database to this version's; a missing SQLite file is made.

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
    """Take the schema back to an earlier version."""
    command.downgrade(_config(database_url(url) if isinstance(url, str) else url), revision)


def _config(url: URL) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _is_unavailable(error: DBAPIError) -> bool:
    """Is it the database that failed, rather than a statement of ours?"""
    # A file that is no database is a DatabaseError itself; statements that fail are subclasses of it.
    return isinstance(error, OperationalError) or error.connection_invalidated or type(error) is DatabaseError


def _unavailable(url: URL, error: DBAPIError) -> DatabaseUnavailable:
    cause = str(error.orig).strip().splitlines()[0]
    place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    lost = error.connection_invalidated
    return (ConnectionLost if lost else DatabaseUnavailable)(
        f"the labels database {place} {'closed the connection' if lost else 'cannot be used'}: {cause}; "
        "try again, or see that it can be reached and written"
    )
