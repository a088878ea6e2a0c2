"""Computing shards on this machine, in this process or in several."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import BosPolicy, Task
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.errors import KilledForMemory, WorkerDied
from keyscope.worker.precompute.estimate import estimate
from keyscope.worker.precompute.executors.executor import Failed, Outcome, Outline, Session
from keyscope.worker.precompute.executors.runner import Finished, Floors, ShardRunner
from keyscope.worker.precompute.finish import publish
from keyscope.worker.precompute.plan import Shard
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.precompute.work import Work
from keyscope.worker.progress import Advance, Progress


class LocalExecutor:
    """This machine, with the model loaded in this process and, with several workers, in each of theirs."""

    def __init__(self, model: CodeModel, source: ModelSource | None = None, workers: int = 1) -> None:
        """Take a loaded model.

        Args:
            model: as it was loaded, or as the run reads it.
            source: where further processes load the model from.
            workers: processes.
        """
        self._loaded = self._model = model
        self._source = source
        self._workers = workers

    def reading(self, bos: BosPolicy, task: Task | None) -> Outline:
        self._model = self._loaded.reading(bos, task)
        return Outline.of(self._model)

    @contextmanager
    def session(self, work: Work, scratch: Path, progress: Progress) -> Iterator[Session]:
        if self._workers == 1 or self._source is None:
            yield _ThisProcess(self._model, work, scratch, progress)
            return
        session = _Processes(self._model, work, scratch, progress, self._source, self._workers)
        try:
            yield session
        except BaseException:
            session.kill()  # a shard may take an hour: close() would wait for it
            raise
        finally:
            session.close()


class _Here:
    """What is done with the model in this process."""

    def __init__(self, model: CodeModel, work: Work, scratch: Path, progress: Progress) -> None:
        self._model = model
        self._work = work
        self._scratch = scratch
        self._progress = progress

    def estimate(self) -> str:
        settings = self._work.plan.settings
        store = for_task(open_tokens(self._work.tokens(self._scratch)), self._model, settings)
        return estimate(self._model, store, settings, self._work.plan.batch)

    def publish(self, path: Path, mixed_devices: bool) -> None:
        publish(self._model, self._work, path, self._scratch, self._progress, mixed_devices)


class _ThisProcess(_Here):
    """One shard after another; reports progress after every batch."""

    def __init__(self, model: CodeModel, work: Work, scratch: Path, progress: Progress) -> None:
        super().__init__(model, work, scratch, progress)
        self._runner = ShardRunner(model, work, scratch)
        self._given: tuple[Shard, Floors] | None = None

    @property
    def free(self) -> int:
        return 0 if self._given else 1

    def submit(self, shard: Shard, floors: Floors) -> None:
        self._given = shard, floors

    def wait(self, advance: Advance) -> list[Outcome]:
        assert self._given is not None
        shard, floors = self._given
        self._given = None
        done = 0.0

        def tick(tokens: float) -> None:
            nonlocal done
            done += tokens
            advance(tokens)

        try:
            return [(shard, self._runner.run(shard, floors, tick))]
        except (KeyscopeError, OSError):  # of this machine: it would end the next shard too
            raise
        except Exception as error:
            advance(-done)
            return [(shard, Failed(error))]


class _Processes(_Here):
    """Several processes, each with its own model; progress counts whole shards.

    If the system kills one for want of memory, all start again with half the batch.
    """

    def __init__(
        self, model: CodeModel, work: Work, scratch: Path, progress: Progress, source: ModelSource, workers: int
    ) -> None:
        super().__init__(model, work, scratch, progress)
        self._task = _Task(work, source, scratch, workers, work.plan.batch)
        self._pool = _pool(self._task)
        self._running: dict[Future[Finished], tuple[Shard, Floors]] = {}

    @property
    def free(self) -> int:
        return self._task.workers - len(self._running)

    def submit(self, shard: Shard, floors: Floors) -> None:
        try:
            future = self._pool.submit(_run_here, shard, floors)
        except BrokenProcessPool as error:
            future = Future()
            future.set_exception(error)
        self._running[future] = shard, floors

    def wait(self, advance: Advance) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                self._begin_again()
                return outcomes
            shard, _ = self._running.pop(future)
            if error is None:
                finished = future.result()
                advance(finished.result.tokens)
                outcomes.append((shard, finished))
            elif isinstance(error, Exception) and not isinstance(error, (KeyscopeError, OSError)):
                outcomes.append((shard, Failed(error)))
            else:
                raise error
        return outcomes

    def _begin_again(self) -> None:
        """After the death of a process, which ends all of them: submit again what they were at."""
        codes = self._codes()
        if -signal.SIGKILL not in codes:
            raise WorkerDied(
                f"a worker process ended unexpectedly (exit codes {', '.join(map(str, codes))}): continue with --resume"
            )
        if self._task.batch == 1:
            raise KilledForMemory(
                "the system killed a worker process that computes one window at a time, most likely for want of memory: "
                "continue with --resume and fewer --workers"
            )
        self._task = self._task.halved()
        self._progress.note(
            "the system killed a worker process, most likely for want of memory: "
            f"going on with a batch of {self._task.batch} instead of {2 * self._task.batch}"
        )
        self.close()
        self._pool = _pool(self._task)
        given, self._running = list(self._running.values()), {}
        for shard, floors in given:
            self.submit(shard, floors)

    def _codes(self) -> list[int]:
        """How the processes ended; the pool has ended those that were alive when one died."""
        processes = list((self._pool._processes or {}).values())
        for process in processes:
            process.join()
        return sorted({process.exitcode for process in processes if process.exitcode is not None})

    def kill(self) -> None:
        """Stop at once."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()

    def close(self) -> None:
        """Wait for the end."""
        self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Task:
    """What a process of the pool is told when it starts."""

    work: Work
    source: ModelSource
    scratch: Path
    workers: int
    batch: int

    def halved(self) -> "_Task":
        return replace(self, batch=self.batch // 2)


def _pool(task: _Task) -> ProcessPoolExecutor:
    # spawned, not forked: CUDA and thread pools do not survive a fork
    context = multiprocessing.get_context("spawn")
    numbers: multiprocessing.Queue[int] = context.Queue()
    for number in range(task.workers):
        numbers.put(number)
    return ProcessPoolExecutor(task.workers, context, initializer=_start, initargs=(task, numbers))


_given: _Task | None = None
"""In a process of the pool, its task."""


def _start(task: _Task, numbers: "multiprocessing.Queue[int]") -> None:
    """Prepare a new process of the pool."""
    global _given
    _given = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and stops the pool
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // task.workers))
    if task.source.device in ("auto", "cuda") and torch.cuda.is_available():
        torch.cuda.set_device(numbers.get() % torch.cuda.device_count())  # spread processes over the GPUs


@cache
def _runner() -> ShardRunner:
    """Load the model, once per process."""
    assert _given is not None
    settings = _given.work.plan.settings
    model = load_model(_given.source).reading(settings.bos, settings.task)
    return ShardRunner(model, _given.work, _given.scratch, _given.batch)


def _run_here(shard: Shard, floors: Floors) -> Finished:
    return _runner().run(shard, floors, lambda _tokens: None)


def _die_with_parent() -> None:
    # a parent that was killed cannot stop its pool
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
