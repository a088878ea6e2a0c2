"""The run file: complete once it has its name, and read only if its schema version is known."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from keyscope.contract import bins
from keyscope.contract.manifest import CorpusFacts, LanguageCounts, Manifest, ModelFacts, Provenance, RunSettings
from keyscope.contract.runfile import (
    DERIVED,
    SCHEMA_VERSION,
    TABLES,
    OtherSchemaVersion,
    RunFileError,
    create,
    open_run,
    read_manifest,
    write_manifest,
)
from keyscope.contract.tables import FileExists
from tests.made.runs import build_run

MANIFEST = Manifest(
    schema_version=SCHEMA_VERSION,
    run_id="toy",
    model=ModelFacts(
        model_id="toy",
        architecture="gpt2",
        weights_sha256="0" * 64,
        tokenizer_sha256="1" * 64,
        n_layers=2,
        keys_per_layer=[3, 4],
        width=2,
        vocabulary=5,
        activation="relu",
        gated=False,
        parallel=False,
        bos=[],
    ),
    corpus=CorpusFacts(
        name="made",
        sources=["made"],
        sha256="2" * 64,
        languages=[LanguageCounts(language="go", files=1, windows=1, tokens=1)],
    ),
    settings=RunSettings(),
    provenance=Provenance(
        device="cpu",
        batch=1,
        threads=1,
        workers=1,
        started=datetime.now(UTC),
        finished=datetime.now(UTC),
        code_version="0",
        versions={},
    ),
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "toy.duckdb"
    with create(path) as connection:
        write_manifest(connection, MANIFEST)
    return path


def test_a_published_run_reads_back(published: Path) -> None:
    connection = open_run(published)
    assert read_manifest(connection) == MANIFEST
    assert (MANIFEST.n_keys, MANIFEST.languages) == (7, ["go"])
    for table in TABLES:
        assert [row[0] for row in connection.execute(f"DESCRIBE {table.name}").fetchall()] == [
            each.name for each in table.viewed
        ]
    connection.close()


def test_derived_tables_are_alike_in_files_with_and_without_them(tmp_path: Path) -> None:
    whole, without = build_run(tmp_path / "whole.duckdb"), build_run(tmp_path / "without.duckdb")
    with duckdb.connect(str(without)) as connection:
        for table, _ in DERIVED:
            connection.execute(f"DROP TABLE {table.name}")
    for table, _ in DERIVED:
        rows = []
        for path in (whole, without):
            with open_run(path) as connection:
                assert [row[0] for row in connection.execute(f"DESCRIBE {table.name}").fetchall()] == [
                    each.name for each in table.viewed
                ]
                rows.append(connection.execute(f"SELECT * FROM {table.name} ORDER BY ALL").fetchall())
        assert rows[0] == rows[1] != []


def test_every_listed_token_leads_to_its_key(tmp_path: Path) -> None:
    with open_run(build_run(tmp_path / "toy.duckdb")) as connection:
        listed = connection.execute("SELECT count(*) FROM value_tokens WHERE projection = 'normed'").fetchall()[0][0]
        listed += connection.execute("SELECT count(*) FROM fires_on").fetchall()[0][0]
        assert connection.execute("SELECT count(*) FROM token_keys").fetchall() == [(listed,)]


def test_the_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "toy.duckdb"
    with create(path) as connection:
        assert not path.exists()
        assert path.with_name("toy.duckdb.part").exists()
        write_manifest(connection, MANIFEST)
    assert [each.name for each in tmp_path.iterdir()] == ["toy.duckdb"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), create(tmp_path / "toy.duckdb"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_part_is_replaced_and_a_run_never(tmp_path: Path, published: Path) -> None:
    (tmp_path / "other.duckdb.part").write_bytes(b"half a file")
    with create(tmp_path / "other.duckdb") as connection:
        write_manifest(connection, MANIFEST)
    before = published.read_bytes()
    with pytest.raises(FileExists, match="never overwritten"), create(published):
        pass
    assert published.read_bytes() == before


def test_another_schema_version_is_refused_naming_both_and_kept(published: Path) -> None:
    with duckdb.connect(str(published)) as connection:
        connection.execute("UPDATE manifest SET schema_version = 99")
    with pytest.raises(OtherSchemaVersion, match=rf"version 99.*version {SCHEMA_VERSION}"):
        open_run(published)
    assert published.exists()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look at" * 99])
def test_a_file_that_is_no_run_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.duckdb"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=r"odd\.duckdb"):
        open_run(path)
    assert path.read_bytes() == content


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE things (x INTEGER)")
    with pytest.raises(RunFileError, match="is not a run file"):
        open_run(path)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO manifest VALUES (1, '')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY keys TO '/tmp/keys.csv'",
        "ATTACH '/tmp/other.duckdb'",
        "SET enable_external_access = true",
        "SET threads = 1",
    ],
)
def test_an_open_run_can_neither_be_changed_nor_reach_other_files(published: Path, statement: str) -> None:
    connection = open_run(published)
    with pytest.raises(duckdb.Error):
        connection.execute(statement)
    connection.close()


def test_bins_are_mirrored_at_zero_and_halve_octaves() -> None:
    edges = bins.edges()
    assert len(edges) == bins.N_BINS + 1
    assert edges == [-edge for edge in reversed(edges)]
    assert edges[bins.HALF] == 0
    assert edges[bins.HALF + 1 : bins.HALF + 4] == [2.0**-10, 1.5 * 2.0**-10, 2.0**-9]
