"""Files written before today's contract: readable as long as nothing changed its meaning."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from keyscope.contract import runfile
from keyscope.contract.analyses import files, kinds
from keyscope.contract.analyses.files import read_analyses, read_problems
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.runfile import DERIVED, KEYS, TABLES, OtherSchemaVersion, open_run, read_manifest
from keyscope.contract.tables import Column, Table
from tests.contract.old_runs import OLD_RUNS, unpack

CURRENT = (runfile.SCHEMA_VERSION, kinds.SCHEMA_VERSION)
ADDED = Column("added", "FLOAT[]", "Declared after the file was written")


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return unpack(OLD_RUNS[CURRENT], tmp_path)


def test_a_file_of_every_schema_version_is_kept() -> None:
    runs, analyses = ({versions[each] for versions in OLD_RUNS} for each in (0, 1))
    assert runs == set(range(1, runfile.SCHEMA_VERSION + 1))
    assert analyses == set(range(1, kinds.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("versions", OLD_RUNS)
def test_an_old_file_is_read_or_refused_naming_both_versions(tmp_path: Path, versions: tuple[int, int]) -> None:
    path = unpack(OLD_RUNS[versions], tmp_path)
    if versions[0] != runfile.SCHEMA_VERSION:
        with pytest.raises(OtherSchemaVersion, match=rf"version {versions[0]}\b.*version {runfile.SCHEMA_VERSION}\b"):
            open_run(path)
        return
    with open_run(path) as connection:
        assert read_manifest(connection).n_keys == 8
        for table in (*TABLES, *(table for table, _ in DERIVED)):
            assert _described(connection, table) == [(column.name, column.type) for column in table.viewed]
            assert connection.execute(f"SELECT * FROM {table.name}").fetchall(), table.name
        if versions[1] != kinds.SCHEMA_VERSION:
            assert all(f"version {versions[1]}," in problem for _, problem in read_problems(connection))
            return
        assert not read_problems(connection)
        assert {each.kind for each in read_analyses(connection)} == set(KINDS)
        for table in (table for tables in KINDS.values() for table in tables):
            connection.execute(f"SELECT * FROM {table.name}").fetchall()


def test_a_column_declared_later_reads_as_null(old_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = replace(KEYS, columns=(KEYS.columns[0], ADDED, *KEYS.columns[1:]))
    monkeypatch.setattr(runfile, "TABLES", tuple(added if table is KEYS else table for table in TABLES))
    with open_run(old_run) as connection:
        assert connection.execute('SELECT layer, "index", added FROM keys').fetchall() == [
            (layer, index, None) for layer in range(2) for index in range(4)
        ]
        assert _described(connection, added) == [(column.name, column.type) for column in added.columns]
        assert connection.execute("SELECT rowid, added FROM run.keys LIMIT 1").fetchall() == [(0, None)]


def test_a_table_declared_later_reads_as_empty(old_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = Table("later", (ADDED,), ())
    monkeypatch.setattr(runfile, "TABLES", (*TABLES, later))
    with open_run(old_run) as connection:
        assert connection.execute("SELECT added FROM later").fetchall() == []
        assert connection.execute("SELECT rowid, added FROM run.later").fetchall() == []


def test_a_derived_table_with_a_column_declared_later_is_derived_anew(
    old_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tokens, of_tokens), (summaries, select) = DERIVED
    added = replace(summaries, columns=(*summaries.columns, Column("n_promoted", "BIGINT")))
    counting = f"SELECT *, len(promoted) AS n_promoted FROM ({select})"
    monkeypatch.setattr(runfile, "DERIVED", ((tokens, of_tokens), (added, counting)))
    with open_run(old_run) as connection:
        assert connection.execute("SELECT DISTINCT n_promoted FROM key_summaries").fetchall() == [(5,)]


def test_columns_and_tables_declared_later_do_not_refuse_an_analysis(
    old_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firing, *others = KINDS["firing"]
    added = replace(firing, columns=(*firing.columns, ADDED))
    tables = (added, *others, Table("later", (ADDED,), ()))
    monkeypatch.setattr(files, "KINDS", {**KINDS, "firing": tables})
    with open_run(old_run) as connection:
        assert not read_problems(connection)
        assert connection.execute(f"SELECT DISTINCT added FROM {firing.name}").fetchall() == [(None,)]
        assert connection.execute("SELECT * FROM later").fetchall() == []


def test_a_file_of_another_kind_is_no_empty_analysis(old_run: Path) -> None:
    folder = files.analysis_folder(old_run)
    (folder / "firing.duckdb").replace(folder / "syntax.duckdb")
    with open_run(old_run) as connection:
        assert [(kind, "kind firing" in problem) for kind, problem in read_problems(connection)] == [("syntax", True)]


def _described(connection: duckdb.DuckDBPyConnection, table: Table) -> list[tuple[str, str]]:
    return [row[:2] for row in connection.execute(f"DESCRIBE {table.name}").fetchall()]
