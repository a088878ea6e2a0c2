"""Opening files that anybody may have written: a refusal each time, and nothing in them runs."""

import shutil
import time
from pathlib import Path

import duckdb
import pytest

from keyscope.contract import reading
from keyscope.contract.analyses.files import analysis_folder, read_analyses, read_problems
from keyscope.contract.reading import Unusable, connect_to, time_limit
from keyscope.contract.runfile import RunFileError, open_run, read_manifest
from tests.made.firing import write_firing
from tests.made.hostile import ENDLESS, OF_A_RUN, OF_ANY_FILE, spoil
from tests.made.runs import Shape, build_run


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with one analysis."""
    path = build_run(tmp_path_factory.mktemp("built") / "run.duckdb", Shape(layers=1, keys=2))
    write_firing(path)
    return path


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(analysis_folder(built), analysis_folder(tmp_path / built.name))
    return Path(shutil.copy(built, tmp_path))


@pytest.mark.parametrize("fault", OF_A_RUN)
def test_a_spoilt_run_is_refused_by_name_at_once(run: Path, fault: str) -> None:
    spoil(run, OF_A_RUN[fault])
    started = time.monotonic()
    with pytest.raises(RunFileError, match=r"^run\.duckdb is not a run file of Keyscope: (it|Catalog Error)"):
        open_run(run)
    assert time.monotonic() - started < reading.SECONDS


@pytest.mark.parametrize("fault", ["unknown-field", "null", "endless", "macro", "other-type"])
def test_a_spoilt_analysis_is_a_problem_of_its_own(run: Path, fault: str) -> None:
    spoil(analysis_folder(run) / "firing.duckdb", OF_ANY_FILE[fault])
    with open_run(run) as connection:
        assert read_manifest(connection).n_keys == 2
        ((kind, problem),) = read_problems(connection)
        assert read_analyses(connection) == []
    assert kind == "firing"
    assert problem.startswith("firing.duckdb cannot be used: ")


def test_a_refusal_says_what_is_wrong_in_the_manifest(run: Path) -> None:
    spoil(run, OF_A_RUN["many-keys"])
    with pytest.raises(RunFileError, match=r"its manifest is not valid: model\.keys_per_layer\.0: .*got 1000000000000"):
        open_run(run)


def test_a_file_reaches_nothing_even_while_it_is_opened(run: Path) -> None:
    secret = run.with_name("secret.txt")
    secret.write_text("of somebody else")
    with connect_to([run]) as connection:
        for statement in (f"SELECT * FROM read_text('{secret}')", f"ATTACH '{secret}' AS other", "SET threads = 1"):
            with pytest.raises(duckdb.Error, match=r"disabled by configuration|configuration has been locked"):
                connection.execute(statement)


def test_a_run_is_opened_through_a_link(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "linked.duckdb"
    link.parent.mkdir()
    link.symlink_to(run)
    with open_run(link) as linked, open_run(run) as plain:
        assert read_manifest(linked) == read_manifest(plain)


def test_what_cannot_be_interrupted_between_statements_is_interrupted_in_the_next() -> None:
    started = time.monotonic()
    with duckdb.connect() as connection, pytest.raises(Unusable, match=r"took longer than 0\.1 seconds"):
        _compute_after_a_while(connection)
    assert time.monotonic() - started < 10


def test_an_open_run_takes_a_share_of_the_memory(run: Path) -> None:
    with open_run(run) as connection, duckdb.connect() as unlimited:
        limits = [
            each.execute("SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'").fetchall()[0][0]
            for each in (connection, unlimited)
        ]
    assert limits[0] != limits[1]


def test_an_analysis_that_is_no_file_is_not_opened(run: Path) -> None:
    (analysis_folder(run) / "syntax.duckdb").mkdir()
    with open_run(run) as connection:
        assert read_problems(connection) == []


def _compute_after_a_while(connection: duckdb.DuckDBPyConnection) -> None:
    with time_limit(connection, 0.1):
        time.sleep(0.15)
        connection.execute(f"SELECT {ENDLESS}").fetchall()
