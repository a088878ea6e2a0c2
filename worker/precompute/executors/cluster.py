"""Computing shards on a Ray cluster: one actor a GPU, or a node's CPUs, each with its own model."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import BosPolicy, Task
from keyscope.contract.tables import FileExists
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.errors import ClusterUnusable, MixedDevices
from keyscope.worker.precompute.executors.actor import Hello, ModelActor
from keyscope.worker.precompute.executors.executor import Failed, Outcome, Outline, Session
from keyscope.worker.precompute.executors.runner import Finished, Floors
from keyscope.worker.precompute.plan import Shard
from keyscope.worker.precompute.work import Work
from keyscope.worker.progress import Advance, Progress

_IN_FLIGHT = 2
"""Shards an actor is given at once, so that it never waits for the next."""
_DEATHS = 4
"""How many processes may die of a shard before it counts as failed; after half as many the batch is halved."""
_PAUSE = 0.5
"""Seconds until an actor that is being restarted is asked again."""
_LOOK_AROUND = 10.0
"""Seconds between looks for nodes that have come."""


@contextmanager
def ray_executor(
    source: ModelSource,
    address: str,
    workers: int | None,
    scratch: Path | None,
    mixed_devices: bool,
    progress: Progress,
) -> Iterator["RayExecutor"]:
    """Connect to a cluster and load the model on its nodes.

    Args:
        source: where the nodes load the model from.
        address: `auto`, or HOST:PORT of the cluster's head.
        workers: actors; by default one a GPU, or without GPUs one a node.
        scratch: folder on each node for what is not finished.
        mixed_devices: whether they may have devices of several kinds.
        progress: listener.

    Raises:
        ClusterUnusable: Ray is not installed, or there is no cluster, or it has no room for a model.
        MixedDevices: the nodes have devices of several kinds.
        KeyscopeError: a node cannot load the model.
    """
    try:
        import ray
        from ray.exceptions import RaySystemError
    except ImportError:
        raise ClusterUnusable("--executor ray needs Ray: pip install 'keyscope[cluster]'") from None
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, RaySystemError) as error:
            raise ClusterUnusable(
                f"no Ray cluster is reached at {address} ({_first_line(error)}): start one with ray start --head on this "
                "machine and ray start --address=HOST:PORT on the others"
            ) from None
    executor = RayExecutor(ray, source, workers, scratch, mixed_devices, progress)
    try:
        executor.start()
        yield executor
    finally:
        executor.close()
        if ours:
            ray.shutdown()


@dataclass(eq=False)
class _Actor:
    """An actor and what it is at."""

    handle: Any
    hello: Hello | None = None
    """None until its model is loaded, at first and after each restart."""
    running: set[Any] = field(default_factory=set)


@dataclass(frozen=True)
class _Call:
    """A shard that an actor computes."""

    actor: _Actor
    shard: Shard
    floors: Floors


class RayExecutor:
    """The actors of one precompute. They are not detached, so they end with this process."""

    def __init__(
        self,
        ray: Any,
        source: ModelSource,
        workers: int | None,
        scratch: Path | None,
        mixed_devices: bool,
        progress: Progress,
    ) -> None:
        self.ray = ray
        self.mixed_devices = mixed_devices
        self.progress = progress
        self.actors: list[_Actor] = []
        self.starting: dict[Any, _Actor] = {}
        """Answers to come, by which an actor tells that its model is loaded."""
        self._source = source
        self._workers = workers
        self._scratch = scratch
        self._remote = ray.remote(ModelActor)
        self._looked = 0.0
        self._nodes: set[str] = set()

    def start(self) -> None:
        """Start the actors and wait for the first.

        Raises:
            ClusterUnusable: the cluster has no room for a model.
        """
        self.grow()
        if not self.actors:
            raise ClusterUnusable("the Ray cluster has no CPU to spare: add nodes, or start them with --num-cpus")
        with self.progress.stage("loading the model on the cluster", None, "actors"):
            while not self.ready:
                self.ray.wait(list(self.starting))
                self.welcome()

    @property
    def ready(self) -> list[_Actor]:
        """The actors whose model is loaded."""
        return [each for each in self.actors if each.hello is not None]

    def grow(self) -> None:
        """Start as many actors as the cluster has room for now."""
        if self.actors and time.monotonic() - self._looked < _LOOK_AROUND:
            return
        self._looked = time.monotonic()
        nodes = [each["Resources"] for each in self.ray.nodes() if each["Alive"]]
        gpus = int(sum(each.get("GPU", 0) for each in nodes))
        cpus = [int(each.get("CPU", 0)) for each in nodes if each.get("CPU", 0) >= 1]
        wanted = self._workers or gpus or len(cpus)
        if gpus:
            share: dict[str, float] = {"num_gpus": 1, "num_cpus": 1}
        elif cpus:
            share = {"num_cpus": max(1, min(min(cpus), sum(cpus) // wanted))}
        else:
            return
        for _ in range(wanted - len(self.actors)):
            # a call that dies with its actor is given to another at once and not kept for the restarted one
            options = {"max_restarts": -1, "max_task_retries": 0, "scheduling_strategy": "SPREAD", **share}
            handle = self._remote.options(**options).remote(self._source, None if gpus else int(share["num_cpus"]))
            actor = _Actor(handle)
            self.actors.append(actor)
            self.greet(actor)

    def greet(self, actor: _Actor) -> None:
        """Ask an actor to tell when its model is loaded."""
        actor.hello = None
        self.starting[actor.handle.hello.remote()] = actor

    def welcome(self) -> None:
        """Take in the actors that are loaded by now.

        Raises:
            MixedDevices: one has another kind of device than the others.
            ClusterUnusable: one has another version of Keyscope, or none can be started.
        """
        done, _ = (
            self.ray.wait(list(self.starting), num_returns=len(self.starting), timeout=0) if self.starting else ([], 0)
        )
        for answer in done:
            actor = self.starting.pop(answer)
            try:
                hello: Hello = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                raise _own(error) from None
            except self.ray.exceptions.RayActorError as error:
                if isinstance(error, self.ray.exceptions.ActorUnavailableError):  # it is being restarted
                    time.sleep(_PAUSE)
                    self.greet(actor)
                    continue
                raise ClusterUnusable(f"a node cannot load the model: {_first_line(error)}") from error
            self._check(hello)
            actor.hello = hello
        there = {each.hello.node_id: each.hello.node for each in self.ready if each.hello}
        if there.keys() - self._nodes:
            names = ", ".join(sorted(there.values()))
            self.progress.note(f"{len(self.ready)} of {len(self.actors)} models are loaded; nodes: {names}")
        self._nodes |= there.keys()

    def lost(self, actor: _Actor) -> None:
        """Note that an actor has died; it is back when its model is loaded again, perhaps on another node."""
        if actor.hello is not None:
            self.progress.note(f"the process on node {actor.hello.node} is gone: its shards are computed elsewhere")
            self._nodes.discard(actor.hello.node_id)
            self.greet(actor)

    def _check(self, hello: Hello) -> None:
        if hello.version != version("keyscope"):
            raise ClusterUnusable(
                f"node {hello.node} has Keyscope {hello.version}, and this machine has {version('keyscope')}: install one version"
            )
        others = [each.hello for each in self.ready if each.hello and each.hello.device != hello.device]
        if others and not self.mixed_devices:
            raise MixedDevices(
                f"node {hello.node} has {hello.device} and node {others[0].node} has {others[0].device}, between which the last "
                "bits of sums differ: use nodes of one kind, or accept it with --mixed-devices"
            )

    def reading(self, bos: BosPolicy, task: Task | None) -> Outline:
        while True:
            actor = self.any_ready()
            try:
                outline: Outline = self.ray.get(actor.handle.outline.remote(bos, task))
                return outline
            except self.ray.exceptions.RayTaskError as error:
                raise _own(error) from None
            except self.ray.exceptions.RayActorError:
                self.lost(actor)

    def any_ready(self) -> _Actor:
        """An actor whose model is loaded; waits for one."""
        while not self.ready:
            self.ray.wait(list(self.starting))
            self.welcome()
        return self.ready[0]

    @contextmanager
    def session(self, work: Work, scratch: Path, progress: Progress) -> Iterator[Session]:
        place: Path | None = None  # nodes that share no disk use their own
        if self._scratch is not None:
            place = self._scratch / work.plan.run_id
        elif work.storage.folder is not None:
            place = scratch
        yield _Cluster(self, work, place)

    def close(self) -> None:
        """End the actors."""
        for each in self.actors:
            with suppress(Exception):
                self.ray.kill(each.handle)


class _Cluster:
    """A planned run being computed by the actors."""

    def __init__(self, executor: RayExecutor, work: Work, scratch: Path | None) -> None:
        self._executor = executor
        self._ray = executor.ray
        self._work = work
        self._scratch = scratch
        self._task = self._ray.put((work, scratch))
        self._calls: dict[Any, _Call] = {}
        self._again: list[tuple[Shard, Floors]] = []
        """Shards whose process died."""
        self._deaths = Counter[int]()
        self._batch: dict[int, int] = {}

    @property
    def free(self) -> int:
        return _IN_FLIGHT * len(self._executor.ready) - len(self._calls) - len(self._again)

    def submit(self, shard: Shard, floors: Floors) -> None:
        actor = min(self._executor.ready, key=lambda each: len(each.running))
        call = actor.handle.compute.remote(self._task, shard, floors, self._batch.get(shard.number))
        actor.running.add(call)
        self._calls[call] = _Call(actor, shard, floors)

    def wait(self, advance: Advance) -> list[Outcome]:
        self._executor.grow()
        done, _ = self._ray.wait([*self._calls, *self._executor.starting], timeout=_LOOK_AROUND)
        outcomes = [
            outcome for call in done if call in self._calls and (outcome := self._outcome(call, advance)) is not None
        ]
        self._executor.welcome()
        while self._again and self._executor.ready:
            self.submit(*self._again.pop())
        return outcomes

    def _outcome(self, answer: Any, advance: Advance) -> Outcome | None:
        """What became of a shard; None if its process died and another computes it."""
        call = self._calls.pop(answer)
        call.actor.running.discard(answer)
        try:
            finished: Finished = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            own = _own(error)
            if isinstance(own, KeyscopeError):
                raise own from None
            return call.shard, Failed(own)
        except self._ray.exceptions.RayError as error:
            return self._died(call, error)
        advance(finished.result.tokens)
        return call.shard, finished

    def _died(self, call: _Call, error: Exception) -> Outcome | None:
        self._executor.lost(call.actor)
        number = call.shard.number
        self._deaths[number] += 1
        if self._deaths[number] >= _DEATHS:
            return call.shard, Failed(error)
        batch = self._batch.get(number, self._work.plan.batch)
        out_of_memory = isinstance(error, self._ray.exceptions.OutOfMemoryError) or "low on memory" in str(error)
        if batch > 1 and (out_of_memory or self._deaths[number] >= _DEATHS // 2):
            self._batch[number] = batch // 2
            self._executor.progress.note(
                f"processes died of shard {number}, perhaps for want of memory: it is tried with a batch of {batch // 2}"
            )
        self._again.append((call.shard, call.floors))
        return None

    def estimate(self) -> str:
        text: str = self._ask("estimate", self._task)
        return f"{text}, on one of {len(self._executor.actors)} processes"

    def publish(self, path: Path, mixed_devices: bool) -> None:
        """As `finish.publish`, on an actor: the file goes through the work folder."""
        if path.exists():
            raise FileExists(f"{path} already exists and is never overwritten: move it away to compute it again")
        name = self._ask("publish", self._task, mixed_devices)
        part = path.with_name(f"{path.name}.part")
        self._work.storage.fetch(name, part)
        part.replace(path)
        self._executor.progress.note(f"published {path}")

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of an actor, of another one if it dies; its progress is this process's."""
        deaths: list[Exception] = []
        while len(deaths) < _DEATHS:
            actor = self._executor.any_ready()
            try:
                return self._follow(getattr(actor.handle, method).options(num_returns="streaming").remote(*arguments))
            except self._ray.exceptions.RayTaskError as error:
                raise _own(error) from None
            except self._ray.exceptions.RayActorError as error:
                self._executor.lost(actor)
                deaths.append(error)
        raise ClusterUnusable(f"{_DEATHS} processes died of it: {_first_line(deaths[-1])}")

    def _follow(self, events: Any) -> Any:
        """Report the events that an actor tells, up to its answer."""
        stages: list[tuple[Any, Advance]] = []
        for answer in events:
            kind, *rest = self._ray.get(answer)
            if kind == "answer":
                return rest[0]
            if kind == "note":
                self._executor.progress.note(*rest)
            elif kind == "begin":
                stage = self._executor.progress.stage(*rest)
                stages.append((stage, stage.__enter__()))
            elif kind == "advance":
                stages[-1][1](*rest)
            else:
                stages.pop()[0].__exit__(None, None, None)
        return None


def _own(error: Any) -> Exception:
    """The error that an actor raised, as it raised it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
