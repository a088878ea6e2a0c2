"""Running all shards that have no result yet, one after another or in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.collect import polarities
from keyscope.worker.precompute.partial import Partial, completed, partial_name, raise_floor
from keyscope.worker.precompute.runner import Shard, ShardRunner
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.progress import Advance, Progress

FloorArrays = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What every shard of a run has in common."""

    source: ModelSource
    settings: RunSettings
    batch: int
    workers: int
    tokens: Path
    """Folder of the token store."""
    results: Path
    """Folder of the partial results."""


class Floors:
    """The best scores of each key over the complete shards of a language: later shards need not keep lower ones.

    A floor only leaves out what the merge would drop, so the rows do not depend on which shards were complete when.
    """

    def __init__(self, model: CodeModel, top_k: int) -> None:
        self._keys = sum(model.facts.keys_per_layer)
        self._names = polarities(model.facts.gated)
        self._top_k = top_k
        self._best: dict[tuple[str, str], Tensor] = {}

    def add(self, language: str, partial: Partial) -> None:
        """Take a complete shard into account."""
        for name in self._names:
            kept = self._best.get((language, name), torch.full((self._keys, self._top_k), -torch.inf))
            self._best[language, name] = raise_floor(kept, *partial.scores(name, 0, self._keys))

    def of(self, language: str) -> FloorArrays:
        """Floors per polarity, [all keys]."""
        none = torch.full((self._keys, 1), -torch.inf)
        return {name: self._best.get((language, name), none)[:, -1].numpy() for name in self._names}


def run_shards(model: CodeModel, work: ShardWork, store: TokenStore, shards: list[Shard], progress: Progress) -> None:
    """Compute every shard that has no complete result yet."""
    floors = Floors(model, work.settings.top_k)
    done = set(completed(work.results, len(shards)))
    for shard in shards:
        if shard.number in done:
            floors.add(shard.language, Partial(work.results / partial_name(shard.number)))
    todo = [shard for shard in shards if shard.number not in done]
    total = sum(_tokens(store, shard) for shard in todo)
    with progress.stage("reading coefficients", total, "tokens") as advance:
        if work.workers == 1:
            runner = _Process(model, work, store)
            for shard in todo:
                runner.run(shard, floors.of(shard.language), advance)
                floors.add(shard.language, Partial(work.results / partial_name(shard.number)))
            return
        with _pool(work) as pool:
            running: dict[Future[None], Shard] = {}
            while todo or running:
                while todo and len(running) < work.workers:
                    shard = todo.pop(0)
                    running[pool.submit(_run_in_pool, shard, floors.of(shard.language))] = shard
                for finished in wait(running, return_when=FIRST_COMPLETED).done:
                    shard = running.pop(finished)
                    finished.result()
                    advance(_tokens(store, shard))
                    floors.add(shard.language, Partial(work.results / partial_name(shard.number)))


def _tokens(store: TokenStore, shard: Shard) -> int:
    return int(store.offsets[shard.files.stop] - store.offsets[shard.files.start])


class _Process:
    """A model ready to compute shards, in this process or in one of a pool."""

    def __init__(self, model: CodeModel, work: ShardWork, store: TokenStore) -> None:
        self._model = model
        self._folder = work.results
        self._runner = ShardRunner(model, store, work.settings, work.batch)

    def run(self, shard: Shard, floors: FloorArrays, advance: Advance) -> None:
        """Compute one shard."""
        sizes = self._model.facts.keys_per_layer
        levels = {
            name: list(torch.from_numpy(array).to(self._model.device).split(sizes)) for name, array in floors.items()
        }
        self._runner.run(shard, levels, self._folder / partial_name(shard.number), advance)


_process: list[_Process] = []
"""The one of a pool's process, put there when it starts."""


def _start_in_pool(work: ShardWork, numbers: "multiprocessing.Queue[int]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and stops the pool
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // work.workers))
    source = work.source
    if source.device in ("auto", "cuda") and torch.cuda.is_available():
        source = replace(source, device=f"cuda:{numbers.get() % torch.cuda.device_count()}")
    _process.append(_Process(load_model(source), work, open_tokens(work.tokens)))


def _run_in_pool(shard: Shard, floors: FloorArrays) -> None:
    _process[0].run(shard, floors, lambda _tokens: None)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _pool(work: ShardWork) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    numbers: multiprocessing.Queue[int] = context.Queue()
    for number in range(work.workers):
        numbers.put(number)
    pool = ProcessPoolExecutor(work.workers, context, initializer=_start_in_pool, initargs=(work, numbers))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
