"""Plans and results in a store: any process can compute a share, and publishing checks, merges and clears up."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker import storage
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.corpus import corpus_folder, prepared_corpus
from keyscope.worker.precompute.errors import (
    DamagedResult,
    KilledForMemory,
    MixedDevices,
    OtherModel,
    ShardsFailed,
    ShardsMissing,
    UnfinishedRun,
    WorkerDied,
)
from keyscope.worker.precompute.executors import local, runner
from keyscope.worker.precompute.executors.runner import ShardRunner
from keyscope.worker.precompute.plan import shards_by_tokens
from keyscope.worker.precompute.planned import compute_shards, publish_planned
from keyscope.worker.precompute.run import plan, precompute
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.work import Work
from keyscope.worker.progress import Silent
from keyscope.worker.storage import Storage, StorageUnusable
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import request, run
from tests.worker.precompute.rows import all_rows


class FlakyStore(MemoryFileSystem):
    """A store that fails every third time something is written."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the class it stands in for
    pseudo_dirs = [""]  # noqa: RUF012
    written = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("flaky://", "memory://")))

    def _fail_at_times(self) -> None:
        FlakyStore.written += 1
        if FlakyStore.written % 3 == 0:
            raise OSError("the store is busy")

    def put_file(self, *args: Any, **kwargs: Any) -> Any:
        self._fail_at_times()
        return super().put_file(*args, **kwargs)

    def pipe_file(self, *args: Any, **kwargs: Any) -> Any:
        self._fail_at_times()
        return super().pipe_file(*args, **kwargs)


fsspec.register_implementation("flaky", FlakyStore, clobber=True)


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def store() -> Iterator[str]:
    """The URL of an empty folder in a store that fails at times."""
    yield "flaky://bucket/work"
    FlakyStore.store.clear()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.0)


def _planned(model: Path, corpus: Path, out: Path, work: str | None = None) -> str:
    return plan(request(model, corpus, out, work=work), Silent())


def _compute(url: str, scratch: Path, rank: int = 0, of: int = 1) -> int:
    return compute_shards(url, rank, of, "cpu", scratch, Silent())


def _publish(url: str, out: Path, scratch: Path, **more: bool) -> Path:
    return publish_planned(url, out, "cpu", scratch, Silent(), **more)


def test_shares_computed_apart_in_a_store_that_fails_at_times_make_the_same_rows_and_leave_nothing(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path, store: str
) -> None:
    url = _planned(model, corpus, tmp_path / "driver", store)
    shards = Work.at(url).plan.shards
    assert len(shards) >= 5
    assert _compute(url, tmp_path / "a", 0, 2) + _compute(url, tmp_path / "b", 1, 2) == len(shards)
    path = _publish(url, tmp_path / "runs", tmp_path / "c")
    assert FlakyStore.written > 3 * len(shards)
    assert all_rows(path) == all_rows(unbroken)
    assert FlakyStore.store == {}
    assert [list((tmp_path / name).iterdir()) for name in "abc"] == [[], [], []]
    assert prepared_corpus(corpus_folder(path)) is not None


def test_a_share_that_is_complete_is_not_computed_again(
    tmp_path: Path, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _planned(model, corpus, tmp_path)
    _compute(url, tmp_path / "scratch")
    before = Work.at(url).results()
    monkeypatch.setattr("keyscope.worker.precompute.planned.load_planned", None)
    assert _compute(url, tmp_path / "scratch") == len(before)
    assert Work.at(url).results() == before


def test_what_is_missing_is_named_and_a_resumed_precompute_computes_it(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path
) -> None:
    url = _planned(model, corpus, tmp_path)
    _compute(url, tmp_path / "scratch", 0, 2)
    with pytest.raises(ShardsMissing, match=r"of \d+ shards in .* have no result \(1, 3"):
        _publish(url, tmp_path, tmp_path / "scratch")
    assert all_rows(run(model, corpus, tmp_path, resume=True)) == all_rows(unbroken)


def test_a_process_thought_dead_that_goes_on_writing_does_no_harm(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path, store: str
) -> None:
    url = _planned(model, corpus, tmp_path / "driver", store)
    work = Work.at(url)
    zombie = ShardRunner(load_model(ModelSource(str(model), device="cpu")), work, tmp_path / "zombie")
    _compute(url, tmp_path / "scratch")
    late = work.storage.below("shards/00001/unfinished")
    late.write("max-key.npy", b"half of")
    first = work.plan.shards[0]
    floors = {name: np.full(work.plan.n_keys, -np.inf, dtype=np.float32) for name in work.names}
    again = zombie.run(first, floors, lambda _done: None).result
    assert work.result(0) == again
    assert len(work.storage.names("shards/00000")) == 2
    path = _publish(url, tmp_path / "runs", tmp_path / "scratch")
    assert all_rows(path) == all_rows(unbroken)
    assert FlakyStore.store == {}


def test_a_damaged_result_is_refused_and_computed_again(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path
) -> None:
    url = _planned(model, corpus, tmp_path)
    _compute(url, tmp_path / "scratch")
    (file,) = Path(url).parent.glob("shards/00002/*/max-score.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedResult, match=r"shard 2 .*max-score\.npy"):
        _publish(url, tmp_path, tmp_path / "scratch")
    _compute(url, tmp_path / "scratch")
    assert all_rows(_publish(url, tmp_path, tmp_path / "scratch")) == all_rows(unbroken)


def test_results_of_another_plan_do_not_count(tmp_path: Path, model: Path, corpus: Path) -> None:
    url = _planned(model, corpus, tmp_path)
    _compute(url, tmp_path / "scratch")
    document = json.loads(Path(url).read_text())
    Path(url).write_text(json.dumps(document | {"batch": 7}))
    assert Work.at(url).results() == {}


def test_shards_of_different_devices_are_published_only_if_that_is_accepted(
    tmp_path: Path, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _planned(model, corpus, tmp_path)
    _compute(url, tmp_path / "scratch", 0, 2)
    monkeypatch.setattr(runner, "kind_of_device", lambda _device: "cuda Made Up")
    _compute(url, tmp_path / "scratch", 1, 2)
    with pytest.raises(MixedDevices, match=r"on cpu.*on cuda Made Up.*--mixed-devices"):
        _publish(url, tmp_path, tmp_path / "scratch")
    path = _publish(url, tmp_path, tmp_path / "scratch", mixed_devices=True)
    with open_run(path) as connection:
        computed_on = read_manifest(connection).provenance.computed_on
    assert {each.device for each in computed_on} >= {"cuda Made Up"}
    assert len(computed_on) == 2


def test_a_shard_that_fails_twice_is_named_when_the_others_are_done(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ShardRunner.run

    def failing(self: ShardRunner, shard: Any, *rest: Any) -> Any:
        if shard.number == 1:
            raise ValueError("made up")
        return whole(self, shard, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ShardRunner, "run", failing)
        with pytest.raises(
            ShardsFailed, match=r"1 of \d+ shards.*python files from part.*\.py to part.*ValueError: made up"
        ):
            run(model, corpus, tmp_path)
    (state,) = tmp_path.glob(".work/tiny-*/")
    work = Work.at(str(state))
    assert sorted(work.results()) == [shard.number for shard in work.plan.shards if shard.number != 1]
    assert all_rows(run(model, corpus, tmp_path, resume=True)) == all_rows(unbroken)


def test_another_model_than_planned_is_refused(tmp_path: Path, model: Path, corpus: Path) -> None:
    url = _planned(model, corpus, tmp_path)
    other = save_tiny(tmp_path / "other", "llama", seed=1)
    with pytest.raises(OtherModel, match="weights sha256"):
        compute_shards(url, 0, 1, "cpu", tmp_path / "scratch", Silent(), str(other))


def test_what_is_no_plan_or_no_storage_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedRun, match="--plan-only"):
        Work.at(str(tmp_path))
    with pytest.raises(StorageUnusable, match="nowhere"):
        Storage("nowhere://bucket")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "plan.json").write_text("{}")
    with pytest.raises(UnfinishedRun, match="earlier version"):
        Work.at(str(tmp_path))


def test_shards_have_about_as_many_tokens_and_every_file_once(tmp_path: Path, model: Path, corpus: Path) -> None:
    url = _planned(model, corpus, tmp_path)
    work = Work.at(url)
    store = open_tokens(work.tokens(tmp_path))
    for tokens in (1, 200, 500, 10**9):
        shards = shards_by_tokens(store, tokens)
        assert [file for shard in shards for file in shard.files] == list(range(store.n_files))
        for shard in shards:
            assert {store.language_names[store.languages[file]] for file in shard.files} == {shard.language}
            assert shard.tokens == store.lengths[list(shard.files)].sum()
            assert len(shard.files) == 1 or shard.tokens <= 1.5 * tokens + max(store.lengths)
    assert len(shards_by_tokens(store, 1)) == store.n_files
    assert len(shards_by_tokens(store, 10**9)) == 2


def _killing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Send a signal to a process of the pool while it is at work, once."""
    submit, sent = local._Processes.submit, list[int]()

    def submitted(self: local._Processes, *args: Any) -> None:
        submit(self, *args)
        if not sent:
            sent.append(next(iter(self._pool._processes)))
            os.kill(sent[0], number)

    monkeypatch.setattr(local._Processes, "submit", submitted)


def test_a_worker_killed_for_memory_is_a_sentence_and_half_the_batch(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killing(monkeypatch, signal.SIGKILL)
    notes = Notes()
    path = precompute(request(model, corpus, tmp_path, workers=2), notes)
    assert any("want of memory: going on with a batch of 2 instead of 4" in text for text in notes.texts)
    with open_run(path) as connection:
        provenance = read_manifest(connection).provenance
    assert {each.batch for each in provenance.computed_on} == {2}
    for left, right in zip(all_rows(path)["triggers"], all_rows(unbroken)["triggers"], strict=True):
        assert left[:5] == right[:5]
        assert left[5] == pytest.approx(right[5], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [(signal.SIGKILL, KilledForMemory, "fewer --workers"), (signal.SIGSEGV, WorkerDied, "exit codes .*-11")],
)
def test_a_worker_that_dies_for_good_is_one_sentence(
    tmp_path: Path,
    model: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    words: str,
) -> None:
    _killing(monkeypatch, number)
    with pytest.raises(error, match=words):
        run(model, corpus, tmp_path, workers=2, batch=1)


def test_a_store_that_stays_broken_is_told_after_a_few_tries(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    tried: list[float] = []

    def broken(*_args: Any, **_kwargs: Any) -> None:
        tried.append(time.monotonic())
        raise OSError("the store is gone")

    monkeypatch.setattr(FlakyStore, "pipe_file", broken)
    with pytest.raises(OSError, match="is gone"):
        Storage(store).write("name", b"")
    assert len(tried) == storage._ATTEMPTS
