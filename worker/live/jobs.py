"""A worker's jobs: analyses of runs and their twins, one after another, with the model that also serves live requests."""

import contextlib
import threading
import time
from collections import deque
from pathlib import Path

import torch

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.tables import SUFFIX
from keyscope.contract.twin import TWIN
from keyscope.contract.wire import Job, WorkerJob
from keyscope.worker.analysis.errors import AnalysisCancelled
from keyscope.worker.analysis.kinds import make_analyses
from keyscope.worker.analysis.run import analyse_together
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.analysis.twin import TwinOfRun, analyse_twin, precompute_twin
from keyscope.worker.live.engine import Engine
from keyscope.worker.live.errors import (
    DeviceFailed,
    JobsFull,
    NoJobs,
    OtherWeights,
    OutOfMemory,
    UnknownJob,
    UnknownRun,
)
from keyscope.worker.live.failures import release_memory, understand
from keyscope.worker.live.job import RunningJob
from keyscope.worker.model.code_model import CodeModel

TIMED_WINDOW = 256
"""Tokens in each window of the forward passes that are timed."""
LONG_ENOUGH = 0.5
"""Seconds of a pass whose rate is taken for that of any."""
KEPT = 50
"""How many ended jobs are remembered."""
_SECONDS_TO_WAIT = 60
_SECONDS_TO_END = 2.0


class Jobs:
    """The queue of jobs and the thread that runs them.

    Jobs live in memory. After a restart the same job can be submitted again and continues after its last finished step,
    because the analyses keep their steps on disk.

    Args:
        model: the model.
        engine: lends the model.
        runs: directory of the run files; without it no jobs are accepted.
        queue: how many jobs may wait while one runs.
    """

    def __init__(self, model: CodeModel, engine: Engine, runs: Path | None, queue: int) -> None:
        self._model = model
        self._engine = engine
        self._runs = runs
        self._queue = queue
        self._waiting: deque[RunningJob] = deque()
        self._known: deque[RunningJob] = deque()
        self._stopping = False
        self._forward_rate: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="keyscope-jobs", daemon=True)

    @property
    def open(self) -> bool:
        """Whether jobs are accepted."""
        return self._runs is not None

    @property
    def forward_rate(self) -> float | None:
        """Tokens per second of a bare forward pass, in which costs of analyses are counted; None until it is timed."""
        return self._forward_rate

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Cancel running and waiting jobs, and end the thread."""
        with self._changed:
            self._stopping = True
            for job in self._known:
                if job.active:
                    job.unwanted()
            self._changed.notify_all()
        self._engine.wake()
        self._thread.join(_SECONDS_TO_END)

    def submit(self, asked: WorkerJob) -> Job:
        """Queue a job; if an active job would write the same file, return that one instead.

        Raises:
            NoJobs: the worker was started without runs.
            OtherWeights: the run belongs to another model.
            UnknownRun, UnknownAnalysis, InvalidSetting: the request names something that does not exist.
            JobsFull: the queue is full.
        """
        run = self._find(asked)
        twin = asked.kind == TWIN
        analyses = [TwinOfRun.asked(asked.settings)] if twin else make_analyses(asked.kind, asked.settings)
        job = RunningJob(asked, run, analyses, self._engine.lend)
        with self._changed:
            same = next((each for each in self._known if each.active and each.same(job)), None)
            if same is not None:
                return self._shape(same)
            if len(self._waiting) >= self._queue:
                raise JobsFull(
                    f"{len(self._waiting)} jobs are waiting and the queue holds {self._queue}: wait for one to end",
                    _SECONDS_TO_WAIT,
                )
            self._waiting.append(job)
            self._known.appendleft(job)
            self._forget()
            self._changed.notify_all()
            return self._shape(job)

    def known(self, run: str | None = None) -> list[Job]:
        """Active and recent jobs, of one run or of all, the latest first."""
        with self._changed:
            return [self._shape(job) for job in self._known if run is None or job.asked.run == run]

    def get(self, name: str) -> Job:
        """Look a job up by its id.

        Raises:
            UnknownJob: there is no such job.
        """
        with self._changed:
            return self._shape(self._lookup(name))

    def cancel(self, name: str) -> Job:
        """Stop a job; one that has ended is left as it is.

        Raises:
            UnknownJob: there is no such job.
        """
        with self._changed:
            job = self._lookup(name)
            if job.active:
                job.unwanted()
            if job in self._waiting:
                self._waiting.remove(job)
            shape = self._shape(job)
        self._engine.wake()
        return shape

    def _find(self, asked: WorkerJob) -> Path:
        if self._runs is None:
            raise NoJobs("this worker computes no analyses: start it with --runs and the directory of the run files")
        facts = self._model.facts
        if asked.weights_sha256 not in (None, facts.weights_sha256):
            raise OtherWeights(
                f"this worker serves {facts.model_id} with weights {facts.weights_sha256[:12]}, the job is for weights "
                f"{asked.weights_sha256[:12]!r}: start a worker with the run's model"
            )
        # choose among the files that exist: a path built from the request could leave the directory
        runs = {path.name.removesuffix(SUFFIX): path for path in sorted(self._runs.glob(f"*{SUFFIX}"))}
        if asked.run not in runs:
            raise UnknownRun(f"there is no run {asked.run!r} in the worker's runs: it has {', '.join(runs) or 'none'}")
        return runs[asked.run]

    def _lookup(self, name: str) -> RunningJob:
        job = next((job for job in self._known if job.id == name), None)
        if job is None:
            raise UnknownJob(f"there is no job {name!r}: jobs are forgotten when the worker restarts")
        return job

    def _shape(self, job: RunningJob) -> Job:
        ahead = self._waiting.index(job) + 1 if job in self._waiting else 0
        return job.shape(ahead)

    def _forget(self) -> None:
        ended = [job for job in self._known if not job.active]
        for job in ended[KEPT:]:
            self._known.remove(job)

    def _run(self) -> None:
        if self.open:
            with contextlib.suppress(Exception):  # without the rate there are no estimates, but there are jobs
                self._time_forward()
        while (job := self._next()) is not None:
            failure = self._do(job)
            if isinstance(failure, OutOfMemory):
                release_memory()
            if isinstance(failure, DeviceFailed):
                self._engine.device_failed()

    @torch.inference_mode()
    def _time_forward(self) -> None:
        """Time forward passes without head, each larger than the one before, up to one that takes long enough.

        Only small models get to a whole batch: requests wait for a pass, and one of billions of parameters takes minutes on
        a CPU.
        """
        length = min(TIMED_WINDOW, self._model.context_length)
        sizes = ((1, min(16, length)), (1, length), (self._model.default_batch, length))
        with self._engine.lend(lambda: not self._stopping) as give_way:
            for size in sizes:
                give_way()
                windows = torch.zeros(size, dtype=torch.long, device=self._model.device)
                began = time.monotonic()
                self._model.run_body(windows)
                self._model.wait()
                seconds = time.monotonic() - began
                self._forward_rate = windows.numel() / seconds
                if seconds > LONG_ENOUGH:
                    return

    def _next(self) -> RunningJob | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting)
            if self._stopping:
                return None
            job = self._waiting.popleft()
            job.begin()
            return job

    def _compute(self, job: RunningJob) -> Path:
        """Compute what a job asks for, on the run and on its twin, and return its file, the last of several."""
        first = job.analyses[0]
        if isinstance(first, TwinOfRun):
            return precompute_twin(job.run, self._model, (), job, seed=first.settings.seed)
        # the twin first: the run's own figures are held against it; by analyses of its own, for they remember what they read
        of_twin = make_analyses(job.asked.kind, job.asked.settings)
        analyse_twin(job.run, self._model, of_twin, job, replace=job.asked.replace)
        with open_subject(job.run, self._model, (), job) as subject:
            return analyse_together(subject, job.analyses, job.asked.replace)[-1]

    def _do(self, job: RunningJob) -> KeyscopeError | None:
        """Run a job to its end; return the error if it failed."""
        failure: KeyscopeError | None = None
        try:
            job.done(job.context.run(self._compute, job))
        except AnalysisCancelled:
            job.cancelled()
        except Exception as error:
            failure = job.context.run(understand, error, _SECONDS_TO_WAIT)
            job.failed(failure)
        return failure
