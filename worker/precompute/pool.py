"""Computing all shards that have no result yet, in this process or in several."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.precompute.collect import polarities
from keyscope.worker.precompute.groups import pool_size
from keyscope.worker.precompute.partial import Partial, completed, partial_name, raise_floor
from keyscope.worker.precompute.plan import Shard, ShardWork, tokens_in
from keyscope.worker.precompute.runner import Floors, ShardRunner
from keyscope.worker.precompute.token_store import TokenStore, open_tokens
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.progress import Advance, Progress


class Pool(Protocol):
    """Where shards are computed. Another backend, such as a cluster, implements this."""

    slots: int
    """Shards submitted at once; later ones wait, to get the floors of all shards complete by then."""

    def submit(self, shard: Shard, floors: Floors) -> "Future[int]":
        """Start computing a shard.

        The future is done when the shard's partial result is complete in the results folder. Its result is the number of
        tokens not yet reported as progress; its exception is the one that computing the shard raised.
        """
        ...


def run_shards(model: CodeModel, work: ShardWork, store: TokenStore, shards: list[Shard], progress: Progress) -> None:
    """Compute every shard that has no complete result yet."""
    best = _BestScores(model, work)
    done = set(completed(work.results, len(shards)))
    for shard in shards:
        if shard.number in done:
            best.add(shard)
    todo = [shard for shard in shards if shard.number not in done]
    total = sum(tokens_in(store, shard) for shard in todo)
    with (
        progress.stage("reading coefficients", total, "tokens") as advance,
        _pool(model, work, store, advance) as pool,
    ):
        running: dict[Future[int], Shard] = {}
        while todo or running:
            while todo and len(running) < pool.slots:
                shard = todo.pop(0)
                running[pool.submit(shard, best.floors(shard.language))] = shard
            for finished in wait(running, return_when=FIRST_COMPLETED).done:
                advance(finished.result())
                best.add(running.pop(finished))


class _BestScores:
    """The best scores of each key over the complete shards of a language, from which later shards get their floors.

    Floors only omit what the merge would drop, so rows do not depend on which shards were complete when.
    """

    def __init__(self, model: CodeModel, work: ShardWork) -> None:
        self._keys = sum(model.facts.keys_per_layer)
        self._names = polarities(model.facts.gated)
        self._work = work
        self._best: dict[tuple[str, str], Tensor] = {}

    def add(self, shard: Shard) -> None:
        """Take a complete shard into account."""
        result = Partial(self._work.results / partial_name(shard.number))
        for name in self._names:
            kept = self._best.get(
                (shard.language, name), torch.full((self._keys, pool_size(self._work.settings)), -torch.inf)
            )
            self._best[shard.language, name] = raise_floor(kept, *result.scores(name, 0, self._keys))

    def floors(self, language: str) -> Floors:
        """The lowest of each key's best scores; -inf while its pool is not full."""
        none = torch.full((self._keys, 1), -torch.inf)
        return {name: self._best.get((language, name), none)[:, -1].numpy() for name in self._names}


@contextmanager
def _pool(model: CodeModel, work: ShardWork, store: TokenStore, advance: Advance) -> Iterator[Pool]:
    if work.workers == 1:
        yield _ThisProcess(ShardRunner(model, store, work), advance)
        return
    with _processes(work) as executor:
        yield _Processes(executor, work, store)


class _ThisProcess:
    """One shard after another with the model loaded already; reports progress after every batch."""

    slots = 1

    def __init__(self, runner: ShardRunner, advance: Advance) -> None:
        self._runner = runner
        self._advance = advance

    def submit(self, shard: Shard, floors: Floors) -> "Future[int]":
        # errors are raised here, not through the future: Ctrl-C has to stop the loop at once
        self._runner.run(shard, floors, self._advance)
        done: Future[int] = Future()
        done.set_result(0)
        return done


class _Processes:
    """Several processes on this machine, each with its own model; progress counts whole shards."""

    def __init__(self, executor: ProcessPoolExecutor, work: ShardWork, store: TokenStore) -> None:
        self.slots = work.workers
        self._executor = executor
        self._work = work
        self._store = store

    def submit(self, shard: Shard, floors: Floors) -> "Future[int]":
        return self._executor.submit(_run_here, self._work, shard, floors, tokens_in(self._store, shard))


@contextmanager
def _processes(work: ShardWork) -> Iterator[ProcessPoolExecutor]:
    # spawned, not forked: CUDA and thread pools do not survive a fork
    context = multiprocessing.get_context("spawn")
    numbers: multiprocessing.Queue[int] = context.Queue()
    for number in range(work.workers):
        numbers.put(number)
    executor = ProcessPoolExecutor(work.workers, context, initializer=_start, initargs=(work, numbers))
    try:
        yield executor
    except BaseException:
        # a shard may take an hour: shutdown() would wait for it
        for process in list((executor._processes or {}).values()):
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _start(work: ShardWork, numbers: "multiprocessing.Queue[int]") -> None:
    """Prepare a new process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and stops the pool
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // work.workers))
    if work.source.device in ("auto", "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(numbers.get() % torch.cuda.device_count())  # spread processes over the GPUs


@cache
def _runner(work: ShardWork) -> ShardRunner:
    """Load the model, once per process."""
    model = load_model(work.source).reading(work.settings.bos, work.settings.task)
    return ShardRunner(model, for_task(open_tokens(work.tokens), model, work.settings), work)


def _run_here(work: ShardWork, shard: Shard, floors: Floors, tokens: int) -> int:
    _runner(work).run(shard, floors, lambda _tokens: None)
    return tokens


def _die_with_parent() -> None:
    # a parent that was killed cannot stop its pool
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
