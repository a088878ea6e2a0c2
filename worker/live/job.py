"""One requested analysis, or several computed together: settings, progress and outcome."""

import contextvars
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ACTIVE_JOB, Job, JobOptions, JobProgress, JobState
from keyscope.worker.analysis.analysis import Analysis
from keyscope.worker.analysis.errors import AnalysisCancelled
from keyscope.worker.live.ticket import Cancelled
from keyscope.worker.progress import Advance, Pace

_NOTES = 20
Lend = Callable[[Callable[[], bool]], AbstractContextManager[Callable[[], None]]]
"""The signature of `Engine.lend`."""


class RunningJob:
    """A job, which is also the listener of its progress; one thread runs it, others read it and may stop it."""

    def __init__(self, asked: JobOptions, run: Path, analyses: Sequence[Analysis], lend: Lend) -> None:
        self.id = secrets.token_hex(6)
        self.asked = asked
        self.run = run
        self.analyses = tuple(analyses)
        self.context = contextvars.copy_context()
        """What the job logs bears the id of the request that started it."""
        self.state: JobState = "queued"
        self._lend = lend
        self._unwanted = threading.Event()
        self._stage: tuple[str, str, Pace] | None = None
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._failure: KeyscopeError | None = None
        self._result: Path | None = None
        self._submitted = datetime.now(UTC)
        self._started: datetime | None = None
        self._finished: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in ACTIVE_JOB

    def same(self, other: "RunningJob") -> bool:
        """Whether both jobs would write the same files."""

        def files(job: RunningJob) -> list[tuple[object, ...]]:
            return [(job.run, each.kind, each.part, each.settings) for each in job.analyses]

        return files(self) == files(other)

    def begin(self) -> None:
        """Mark the job as running."""
        self.state, self._started = "running", datetime.now(UTC)

    def unwanted(self) -> None:
        """Stop the job: at once if it is queued, after the current batch if it runs."""
        self._unwanted.set()
        if self.state == "queued":
            self.cancelled()

    def done(self, result: Path) -> None:
        """Mark the job as done, with the file it wrote."""
        self._result = result
        self._end("done")

    def cancelled(self) -> None:
        """Mark the job as cancelled."""
        self._end("cancelled")

    def failed(self, failure: KeyscopeError) -> None:
        """Mark the job as failed."""
        self._failure = failure
        self._end("failed")

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        """Borrow the model for a stage; live requests get it in between.

        Raises:
            AnalysisCancelled: the job was stopped; the yielded function raises it too.
        """
        with self._lent() as give_way:
            pace = Pace(total, before)
            self._stage = name, unit, pace

            def advance(done: float) -> None:
                pace.done += done
                with _cancellation():
                    give_way()

            yield advance

    def note(self, text: str) -> None:
        self._notes.append(text)

    def shape(self, ahead: int) -> Job:
        """The job as the API shows it, with `ahead` jobs before it in the queue."""
        return Job(
            **self.asked.model_dump(include=set(JobOptions.model_fields)),
            id=self.id,
            part=self.analyses[0].part,
            state=self.state,
            ahead=ahead,
            stopping=self.state == "running" and self._unwanted.is_set(),
            progress=self._progress() if self.state in ("running", "cancelled") else None,
            notes=list(self._notes),
            error=self._failure.code if self._failure else None,
            detail=self._failure.detail if self._failure else None,
            result=str(self._result.relative_to(self.run.parent)) if self._result else None,
            submitted=self._submitted,
            started=self._started,
            finished=self._finished,
        )

    @contextmanager
    def _lent(self) -> Iterator[Callable[[], None]]:
        with _cancellation(), self._lend(lambda: not self._unwanted.is_set()) as give_way:
            yield give_way

    def _progress(self) -> JobProgress | None:
        if self._stage is None:
            return None
        name, unit, pace = self._stage
        return JobProgress(
            stage=name,
            done=pace.done,
            total=pace.total,
            unit=unit,
            rate=pace.rate,
            seconds_left=pace.seconds_left,
        )

    def _end(self, state: JobState) -> None:
        self.state, self._finished = state, datetime.now(UTC)


@contextmanager
def _cancellation() -> Iterator[None]:
    try:
        yield
    except Cancelled:
        raise AnalysisCancelled("the analysis was stopped: its finished steps are kept for the next attempt") from None
