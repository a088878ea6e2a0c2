import gc
import os
import shutil
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from keyscope.app import runs
from keyscope.app.errors import UnknownRun
from keyscope.app.runs import Registry
from keyscope.contract.runfile import RunFileError, open_run
from tests.made.runs import Shape, build_run


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("built") / "new.duckdb", Shape(layers=1, keys=2))


@pytest.fixture
def directory(tmp_path: Path, runs_dir: Path) -> Path:
    shutil.copy(runs_dir / "alpha.duckdb", tmp_path / "one.duckdb")
    return tmp_path


def test_only_whole_run_files_are_runs(directory: Path):
    (directory / "two.duckdb.part").write_bytes(b"")
    (directory / "one.verify.json").write_text("{}")
    (directory / "one.analysis").mkdir()
    (directory / "one.analysis" / "concepts.duckdb").write_bytes(b"")
    assert Registry(directory).run_ids() == ["one"]


def test_a_run_is_opened_once(directory: Path):
    registry = Registry(directory)
    assert registry.get("one") is registry.get("one")


def test_two_servers_of_one_process_read_one_file(directory: Path):
    one, two = Registry(directory).get("one"), Registry(directory).get("one")
    with one.reading() as cursor, two.reading() as other:
        assert cursor.execute("SELECT * FROM keys").fetchall() == other.execute("SELECT * FROM keys").fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "SET threads = 1",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "ATTACH 'other.duckdb'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY keys TO 'keys.csv'",
        "DELETE FROM keys",
    ],
)
def test_a_run_file_can_only_be_read_and_leads_to_no_other_file(directory: Path, statement: str):
    with Registry(directory).get("one").reading() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(statement)


def test_a_missing_directory_has_no_runs(tmp_path: Path):
    assert Registry(tmp_path / "absent").run_ids() == []


def test_an_unknown_run_names_what_there_is(directory: Path):
    with pytest.raises(UnknownRun, match="there are one") as caught:
        Registry(directory).get("two")
    assert caught.value.exists.runs == ("one",)


@pytest.mark.parametrize("name", ["../one", "one.duckdb", "", "."])
def test_a_name_is_a_name_and_no_path(directory: Path, name: str):
    (directory / "deep").mkdir()
    with pytest.raises(UnknownRun):
        Registry(directory / "deep").get(name)
    with pytest.raises(UnknownRun):
        Registry(directory).get(name)


def test_a_new_file_is_found_without_restart(directory: Path, one_layer: Path):
    registry = Registry(directory)
    registry.all()
    shutil.copy(one_layer, directory / "two.duckdb")
    assert [run.run_id for run in registry.all()[0]] == ["one", "two"]


def test_a_replaced_file_is_read_anew(directory: Path, one_layer: Path):
    registry = Registry(directory)
    assert registry.get("one").manifest.model.n_layers == 2
    shutil.copy(one_layer, directory / "new.duckdb")
    os.replace(directory / "new.duckdb", directory / "one.duckdb")
    run = registry.get("one")
    with run.reading() as cursor:
        assert cursor.execute("SELECT max(layer) FROM keys").fetchone() == (0,)
    assert run.manifest.model.n_layers == 1


def test_a_replaced_file_stays_open_for_the_requests_that_read_it(directory: Path, one_layer: Path):
    registry = Registry(directory)
    shutil.copy(one_layer, directory / "new.duckdb")
    with registry.get("one").reading() as cursor:
        os.replace(directory / "new.duckdb", directory / "one.duckdb")
        assert registry.get("one").manifest.model.n_layers == 1
        assert cursor.execute("SELECT max(layer) FROM keys").fetchone() == (1,)


def test_a_removed_file_is_no_run_any_more(directory: Path):
    registry = Registry(directory)
    registry.get("one")
    (directory / "one.duckdb").unlink()
    with pytest.raises(UnknownRun):
        registry.get("one")


def test_a_removed_file_is_let_go_of_when_another_is_asked_for(directory: Path, one_layer: Path):
    shutil.copy(one_layer, directory / "two.duckdb")
    registry = Registry(directory)
    removed = weakref.ref(registry.get("one"))
    (directory / "one.duckdb").unlink()
    registry.get("two")
    gc.collect()
    assert removed() is None


def test_unreadable_files_are_listed_with_their_sentence_and_left_alone(directory: Path):
    (directory / "garbage.duckdb").write_bytes(b"no database" * 1000)
    with duckdb.connect(str(directory / "stranger.duckdb")) as connection:
        connection.execute("CREATE TABLE other (a INTEGER)")
    with duckdb.connect(str(directory / "newer.duckdb")) as connection:
        connection.execute("CREATE TABLE manifest (schema_version UINTEGER, document VARCHAR)")
        connection.execute("INSERT INTO manifest VALUES (999, '{}')")
    registry = Registry(directory)
    readable, unreadable = registry.all()
    assert [run.run_id for run in readable] == ["one"]
    assert [each.run_id for each in unreadable] == ["garbage", "newer", "stranger"]
    assert "999" in unreadable[1].reason
    assert all(each.run_id in each.reason for each in unreadable)
    assert (directory / "garbage.duckdb").exists()
    with pytest.raises(RunFileError):
        registry.get("garbage")


def test_many_requests_read_one_run_at_a_time(directory: Path):
    run = Registry(directory).get("one")
    counts: list[int] = []

    def read() -> None:
        for _ in range(20):
            with run.reading() as cursor:
                counts.append(cursor.execute("SELECT count(*) FROM keys").fetchall()[0][0])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [12] * 160


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened."""
    counted: Counter[str] = Counter()

    def count(path: Path) -> duckdb.DuckDBPyConnection:
        counted[path.stem] += 1
        return open_run(path)

    monkeypatch.setattr(runs, "open_run", count)
    return counted


def test_a_refused_file_is_left_alone_until_it_changes_or_a_while_has_passed(
    directory: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    registry = Registry(directory)
    (directory / "two.duckdb").write_bytes(b"no database")
    for _ in range(3):
        with pytest.raises(RunFileError, match=r"two\.duckdb"):
            registry.get("two")
    assert opened["two"] == 1
    monkeypatch.setattr(runs, "RETRY_SECONDS", -1)
    with pytest.raises(RunFileError):
        registry.get("two")
    assert opened["two"] == 2
    monkeypatch.undo()
    shutil.copy(directory / "one.duckdb", directory / "two.duckdb")
    assert registry.get("two").run_id == "two"


def test_a_file_that_is_slow_to_open_holds_up_nobody_else_and_is_opened_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copy(directory / "one.duckdb", directory / "slow.duckdb")
    begun, go_on, opened = threading.Event(), threading.Event(), []

    def wait(path: Path) -> duckdb.DuckDBPyConnection:
        opened.append(path.stem)
        if path.stem == "slow":
            begun.set()
            assert go_on.wait(60)
        return open_run(path)

    monkeypatch.setattr(runs, "open_run", wait)
    registry = Registry(directory)
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(registry.get, "slow"), pool.submit(registry.get, "slow")
        assert begun.wait(60)
        try:
            assert pool.submit(registry.get, "one").result(60).run_id == "one"
            assert not any(each.done() for each in slow)
        finally:
            go_on.set()
        assert slow[0].result() is slow[1].result()
    assert sorted(opened) == ["one", "slow"]


def test_an_error_nobody_thought_of_takes_one_run_only(directory: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(directory / "one.duckdb", directory / "two.duckdb")

    def fail(path: Path) -> duckdb.DuckDBPyConnection:
        if path.stem == "two":
            raise RuntimeError("std::bad_cast")
        return open_run(path)

    monkeypatch.setattr(runs, "open_run", fail)
    readable, unreadable = Registry(directory).all()
    assert [run.run_id for run in readable] == ["one"]
    assert [(each.run_id, each.reason) for each in unreadable] == [("two", "two.duckdb cannot be read: std::bad_cast")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b".duckdb", ".duckdb"),
        (b"..duckdb", "..duckdb"),
        (b"...duckdb", "...duckdb"),
        (b"caf\xe9.duckdb", r"caf\udce9.duckdb"),
        (b"a\nb.duckdb", r"a\nb.duckdb"),
        ("a\u202eb.duckdb".encode(), r"a\u202eb.duckdb"),
    ],
)
def test_a_file_that_no_address_can_name_is_listed_as_unreadable(directory: Path, name: bytes, shown: str):
    shutil.copy(directory / "one.duckdb", directory / os.fsdecode(name))
    registry = Registry(directory)
    assert registry.run_ids() == ["one"]
    readable, unreadable = registry.all()
    assert [run.run_id for run in readable] == ["one"]
    assert [(each.run_id, each.reason) for each in unreadable] == [
        (shown, f"{shown} cannot be part of an address: rename the file")
    ]
