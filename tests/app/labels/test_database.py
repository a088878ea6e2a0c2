import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.labels.database import (
    Database,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    SchemaBehind,
    _config,
    database_url,
    downgrade,
    upgrade,
)
from app.labels.models import Base


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/labels.sqlite"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    upgrade(url)
    database = Database(url)
    yield database
    database.close()


def test_the_migrations_make_exactly_the_models(url: str):
    upgrade(url)
    command.check(_config(database_url(url)))


def test_every_migration_can_be_taken_back_and_made_again(url: str):
    upgrade(url)
    downgrade(url, "base")
    engine = Database(url).engine
    assert inspect(engine).get_table_names() == ["alembic_version"]
    upgrade(url)
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
    engine.dispose()


def test_a_missing_sqlite_file_is_made(url: str, tmp_path: Path):
    database = Database(url)
    database.create_missing()
    with database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM labels")).scalar() == 0
    database.close()


def test_a_schema_that_is_behind_says_what_to_run(url: str):
    upgrade(url)
    downgrade(url, "base")
    database = Database(url)
    database.create_missing()
    with pytest.raises(SchemaBehind, match="keyscope db upgrade"), database.transaction():
        pass
    upgrade(url)
    with database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM labels")).scalar() == 0
    database.close()


def test_an_sqlite_database_is_in_wal_mode(database: Database):
    with database.transaction() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_transaction_is_undone_after_an_error(database: Database):
    def insert_and_fail() -> None:
        with database.transaction() as session:
            session.execute(text("INSERT INTO baskets VALUES ('a', 'L0.K0:0', '2026-01-01')"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        insert_and_fail()
    with database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM baskets")).scalar() == 0


def test_a_writer_that_comes_second_tries_again(database: Database):
    tries = 0

    def write(session: Session) -> int:
        nonlocal tries
        tries += 1
        name = "taken" if tries == 1 else "free"
        session.execute(text("INSERT INTO baskets VALUES (:name, 'L0.K0:0', '2026-01-01')"), {"name": name})
        return tries

    with database.transaction() as session:
        session.execute(text("INSERT INTO baskets VALUES ('taken', 'L0.K0:0', '2026-01-01')"))
    assert database.write(write) == 2


def test_a_locked_database_is_one_sentence(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.labels.database.BUSY_SECONDS", 0.1)
    impatient = Database(f"sqlite:///{tmp_path}/labels.sqlite")
    with sqlite3.connect(tmp_path / "labels.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(DatabaseUnavailable, match=r"labels\.sqlite cannot be used: database is locked"),
            impatient.transaction() as session,
        ):
            session.execute(text("INSERT INTO baskets VALUES ('a', 'L0.K0:0', '2026-01-01')"))
        other.execute("ROLLBACK")
    impatient.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
        Database(f"sqlite:///{tmp_path}/locked/labels.sqlite").create_missing()


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
