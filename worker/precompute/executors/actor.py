"""What runs on the nodes of a cluster: a loaded model that computes the shards it is given."""

import queue
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from keyscope.contract.manifest import BosPolicy, Task
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.estimate import estimate
from keyscope.worker.precompute.executors.executor import Outline
from keyscope.worker.precompute.executors.runner import Finished, Floors, ShardRunner
from keyscope.worker.precompute.finish import publish
from keyscope.worker.precompute.plan import Shard
from keyscope.worker.precompute.provenance import kind_of_device
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.windows import for_task
from keyscope.worker.precompute.work import Work, own_folder
from keyscope.worker.progress import Advance, Progress

_Task = tuple[Work, Path | None]
"""A planned run, and the folder for what is not finished, if the node is not to choose it."""


@dataclass(frozen=True)
class Hello:
    """What an actor is, told when its model is loaded."""

    node: str
    node_id: str
    device: str
    version: str


class ModelActor:
    """A model on a node."""

    def __init__(self, source: ModelSource, threads: int | None) -> None:
        """Load the model; `threads` are those of a CPU."""
        import ray  # where an actor runs, it is installed

        self._node_id: str = ray.get_runtime_context().get_node_id()
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = load_model(source)
        self._runner: ShardRunner | None = None

    def hello(self) -> Hello:
        """Tell that the model is loaded."""
        return Hello(socket.gethostname(), self._node_id, kind_of_device(self._model.device), version("keyscope"))

    def outline(self, bos: BosPolicy, task: Task | None) -> Outline:
        """The model as a run asks for it."""
        return Outline.of(self._model.reading(bos, task))

    def compute(self, task: _Task, shard: Shard, floors: Floors, batch: int | None) -> Finished:
        """Compute a shard; with a batch of its own it leaves that of later shards alone."""
        runner = self._open(task)
        usual = runner.batch
        runner.batch = batch or usual
        try:
            return runner.run(shard, floors, lambda _tokens: None)
        finally:
            if batch:
                runner.batch = usual

    def estimate(self, task: _Task) -> Iterator[tuple[Any, ...]]:
        """Estimate a run; yields one answer."""
        work, scratch = task
        model = self._reading(work)
        store = for_task(open_tokens(work.tokens(_scratch(work, scratch))), model, work.plan.settings)
        yield "answer", estimate(model, store, work.plan.settings, work.plan.batch)

    def publish(self, task: _Task, mixed_devices: bool) -> Iterator[tuple[Any, ...]]:
        """Make the run file and store it; yields its progress, then the file's name in the storage as the answer."""
        work, scratch = task

        def make(progress: Progress) -> str:
            folder = own_folder(_scratch(work, scratch))
            made = folder / "run"
            made.mkdir()
            publish(self._reading(work), work, made / "run.duckdb", folder, progress, mixed_devices)
            name = f"published/{uuid.uuid4().hex[:12]}"
            work.storage.put(made, name)
            return f"{name}/run.duckdb"

        yield from _told(make)

    def _reading(self, work: Work) -> CodeModel:
        return self._model.reading(work.plan.settings.bos, work.plan.settings.task)

    def _open(self, task: _Task) -> ShardRunner:
        work, scratch = task
        if self._runner is None or self._runner.work.plan.sha256 != work.plan.sha256:
            self._runner = ShardRunner(self._reading(work), work, _scratch(work, scratch))
        return self._runner


def _scratch(work: Work, given: Path | None) -> Path:
    return given or Path(tempfile.gettempdir()) / "keyscope" / work.plan.run_id


class _Telling:
    """Puts progress into a queue."""

    def __init__(self, tell: Callable[[tuple[Any, ...]], None]) -> None:
        self._tell = tell

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        """Tell a stage from its begin to its end."""
        self._tell(("begin", name, total, unit, before))
        yield lambda done: self._tell(("advance", done))
        self._tell(("end",))

    def note(self, text: str) -> None:
        if not text.startswith("published "):  # what is published here is not yet where it belongs
            self._tell(("note", text))


def _told(make: Callable[[Progress], str]) -> Iterator[tuple[Any, ...]]:
    """Yield the progress of some work, then its answer."""
    events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def work() -> None:
        try:
            events.put(("answer", make(_Telling(events.put))))
        except Exception as error:
            events.put(("error", error))

    thread = threading.Thread(target=work)
    thread.start()
    while True:
        event = events.get()
        if event[0] == "error":
            raise event[1]
        yield event
        if event[0] == "answer":
            return
