import itertools
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from keyscope.app.database.base import Base
from keyscope.app.database.engine import (
    BUSY_SECONDS,
    ConnectionLost,
    Database,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    SchemaBehind,
    _config,
    database_url,
    downgrade,
    make_engine,
    upgrade,
)
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.conftest import SHARED
from tests.postgres import Server

INSERT = "INSERT INTO baskets VALUES (:name, 'L0.K0:0', '2026-01-01')"
NOBODY = 65534
NUMBERS = itertools.count()
Kill = Callable[[Session], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table, once of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.sqlite"
        return
    server: Server = request.getfixturevalue("postgres")
    name = f"empty_{next(NUMBERS)}"
    server.create(name)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def remote(postgres: Server) -> Iterator[Database]:
    """A database of PostgreSQL, whose connections can be lost."""
    database = Database(postgres.url(SHARED))
    yield database
    database.close()
    postgres.empty(SHARED)


@pytest.fixture
def kill(postgres: Server) -> Kill:
    """Ends the server's side of a session's connection, as an administrator or a crash would."""

    def kill(session: Session) -> None:
        pid = session.connection().connection.dbapi_connection.info.backend_pid
        with postgres.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    return kill


def insert(session: Session, name: str = "a") -> None:
    session.execute(text(INSERT), {"name": name})


def count(database: Database) -> int:
    found: int = database.read(lambda session: session.execute(text("SELECT count(*) FROM baskets")).scalar_one())
    return found


def test_the_migrations_make_exactly_the_models(empty_url: str):
    upgrade(empty_url)
    command.check(_config(database_url(empty_url)))


def test_every_migration_can_be_taken_back_and_made_again(empty_url: str):
    upgrade(empty_url)
    downgrade(empty_url, "base")
    engine = Database(empty_url).engine
    assert inspect(engine).get_table_names() == ["alembic_version"]
    upgrade(empty_url)
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
    engine.dispose()


def test_labels_of_the_first_release_outlive_every_migration(empty_url: str):
    upgrade(empty_url, "0001")
    database = Database(empty_url)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO labels (person, weights_sha256, layer, key_index, kind, description, tags, evidence,"
                " created_at, retracted) VALUES ('Ada', :sha, 1, 2, 'mixed', 'x', '[]', '[]', '2026-01-01', false)"
            ),
            {"sha": "a" * 64},
        )
    upgrade(empty_url)
    downgrade(empty_url, "0001")
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT person, kind FROM labels")).all() == [("Ada", "mixed")]
    database.close()


TOKENS_BEFORE_THEY_EXPIRED = (
    "INSERT INTO tokens (id, account_id, name, role, secret_sha256, created_at)"
    " VALUES (:id, 1, 'a program', 'viewer', :secret, '2026-01-01')"
)


def test_tokens_of_the_release_before_go_on_and_it_still_makes_some(empty_url: str):
    upgrade(empty_url, "0005")
    database = Database(empty_url)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO accounts (id, name, folded_name, role, created_at)"
                " VALUES (1, 'Ada', 'ada', 'admin', '2026-01-01')"
            )
        )
        connection.execute(text(TOKENS_BEFORE_THEY_EXPIRED), {"id": 1, "secret": "one"})
    upgrade(empty_url, "0006")
    with database.engine.begin() as connection:
        connection.execute(text(TOKENS_BEFORE_THEY_EXPIRED), {"id": 2, "secret": "two"})
        assert connection.execute(text("SELECT id, expires_at FROM tokens ORDER BY id")).all() == [(1, None), (2, None)]
    downgrade(empty_url, "0005")
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT name, account_id FROM tokens")).all() == [("a program", 1)] * 2
    database.close()


def test_a_missing_sqlite_file_is_made(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/deep/new.sqlite")
    database.create_missing()
    assert count(database) == 0
    database.close()


def test_a_schema_that_is_behind_says_what_to_run(empty_url: str):
    upgrade(empty_url)
    downgrade(empty_url, "base")
    database = Database(empty_url)
    database.create_missing()
    with pytest.raises(SchemaBehind, match="keyscope db upgrade"):
        count(database)
    upgrade(empty_url)
    assert count(database) == 0
    database.close()


def test_an_sqlite_database_is_in_wal_mode(sqlite_template: Path):
    database = Database(f"sqlite:///{sqlite_template}")
    with database.transaction() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    database.close()


def test_a_transaction_is_undone_after_an_error(database: Database):
    def insert_and_fail() -> None:
        with database.transaction() as session:
            insert(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        insert_and_fail()
    assert count(database) == 0


def test_a_writer_that_comes_second_tries_again(database: Database):
    tries = 0

    def write(session: Session) -> int:
        nonlocal tries
        tries += 1
        insert(session, "taken" if tries == 1 else "free")
        return tries

    database.write(lambda session: insert(session, "taken"))
    assert database.write(write) == 2
    assert count(database) == 2


def test_a_connection_lost_between_requests_is_made_anew(remote: Database, kill: Kill):
    with remote.transaction() as session:
        kill_later = session.connection().connection.dbapi_connection.info.backend_pid
    with Session(Database(str(remote.url)).engine) as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": kill_later})
    remote.write(insert)
    assert count(remote) == 1


@pytest.mark.parametrize("method", ["read", "write"])
def test_a_connection_lost_at_work_is_tried_once_more(remote: Database, kill: Kill, method: str):
    tries = 0

    def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        insert(session)
        if tries == 1:
            kill(session)
        session.execute(text("SELECT 1"))

    getattr(remote, method)(work)
    assert tries == 2
    assert count(remote) == 1


@pytest.mark.parametrize("method", ["read", "write"])
def test_a_connection_lost_twice_is_one_sentence(remote: Database, kill: Kill, method: str):
    tries = 0

    def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        kill(session)
        session.execute(text("SELECT 1"))

    with pytest.raises(ConnectionLost, match=r"closed the connection: .+; try again"):
        getattr(remote, method)(work)
    assert tries == 2


def test_a_connection_lost_in_the_commit_is_an_error_for_it_may_have_been_made(remote: Database, kill: Kill):
    tries = 0

    def work(session: Session) -> None:
        nonlocal tries
        tries += 1
        insert(session)
        kill(session)

    with pytest.raises(ConnectionLost):
        remote.write(work)
    assert tries == 1
    assert count(remote) == 0


def test_a_locked_database_is_one_sentence(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keyscope.app.database.engine.BUSY_SECONDS", 0.1)
    database = Database(sqlite_url)
    with (
        locked(sqlite_url, "BEGIN IMMEDIATE"),
        pytest.raises(DatabaseUnavailable, match=r"labels\.sqlite cannot be used: database is locked; try again"),
    ):
        database.write(insert)
    database.write(insert)
    database.close()


def test_pages_say_that_the_database_is_locked(runs_dir: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    headers = {"Accept": "text/html", "X-Keyscope-Person": "Ada"}
    key = "/runs/alpha/keys/L0.K1"
    with TestClient(create_app(Settings(runs=runs_dir, database_url=sqlite_url)), headers=headers) as client:
        client.get(key)
        database = client.app.state.database
        # What is locked nobody waits for; before and after, others are waited for as ever.
        with (
            impatient(database, monkeypatch),
            locked(sqlite_url, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE"),
        ):
            page = client.get(key)
            refused = client.post(f"{key}/label", data={"kind": "mixed"})
            queue = client.get("/labels/queue?run=alpha&strategy=sample")
        saved = client.post(f"{key}/label", data={"kind": "mixed"}, follow_redirects=False)
    assert page.status_code == 200
    assert "database is locked" in page.context["labels"].problem
    for answer in (refused, queue):
        assert answer.status_code == 503
        assert "database is locked; try again" in answer.text
        assert 'id="error"' in answer.text
    assert saved.status_code == 303


def test_a_database_that_may_only_be_read_is_one_sentence(sqlite_template: Path):
    unwritable = pytest.raises(DatabaseUnavailable, match=r"readonly database|unable to open database file")
    with read_only(sqlite_template) as database, unwritable:
        database.write(insert)


def test_a_file_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    # Root may write to any directory, but not even root can make a file where a broken link leads.
    (tmp_path / "labels.sqlite").symlink_to(tmp_path / "nowhere" / "labels.sqlite")
    database = Database(f"sqlite:///{tmp_path}/labels.sqlite")
    with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
        database.create_missing()
    database.close()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path):
    (tmp_path / "labels.sqlite").write_text("once upon a time, there was a text " * 100)
    database = Database(f"sqlite:///{tmp_path}/labels.sqlite")
    with pytest.raises(DatabaseUnavailable, match="file is not a database"):
        count(database)
    database.close()


def test_an_unreachable_postgresql_is_one_sentence_without_its_password():
    database = Database("postgresql://someone:secret@127.0.0.1:1/labels")
    with pytest.raises(DatabaseUnavailable) as caught, database.transaction():
        pass
    assert "127.0.0.1" in caught.value.detail
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("text", ["mysql://host/labels", "labels.sqlite", ""])
def test_an_address_that_is_no_database_is_refused(text: str):
    with pytest.raises(InvalidDatabaseUrl, match="sqlite:///FILE"):
        database_url(text)


def test_postgresql_is_reached_through_psycopg():
    assert database_url("postgresql://host/labels").drivername == "postgresql+psycopg"
    assert database_url("postgres://host/labels").drivername == "postgresql+psycopg"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    (tmp_path / "labels.sqlite").write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{tmp_path}/labels.sqlite"


@contextmanager
def locked(url: str, *statements: str) -> Iterator[None]:
    """Another process, as it were, that holds the database once whoever else uses it has let go."""
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)) as other:
        for statement in statements:
            other.execute(statement)
        yield
        other.execute("ROLLBACK")


@contextmanager
def impatient(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a database give up a locked file at once, by connections of its own; those that it has are closed."""
    database.close()
    with monkeypatch.context() as patch:
        patch.setattr("keyscope.app.database.engine.BUSY_SECONDS", 0.1)
        patch.setattr(database, "engine", make_engine(database.url))
        yield
        database.close()


@contextmanager
def read_only(template: Path) -> Iterator[Database]:
    """A database in a file and a directory that this process may not write."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "labels.sqlite"
        path.write_bytes(template.read_bytes())
        database = Database(f"sqlite:///{path}")
        # Without root's rights the migrations may be out of reach, so the schema is checked before.
        count(database)
        database.close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with unprivileged():
            yield database
        database.close()
        path.parent.chmod(0o755)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop the rights of root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
