"""Jobs: analyses of runs that live workers compute, and what became of those whose worker is gone.

A worker knows its jobs while it runs. What it told last is kept in the labels database, with the worker that told it: all
that concerns a job goes there. So jobs are the same from every server process, and outlive servers and workers.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.errors import NotFound
from keyscope.app.live.client import Method, Worker, WorkerRefused, Workers, WorkerUnavailable
from keyscope.app.live.models import JobRecord
from keyscope.app.runs import Registry
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ACTIVE_JOB, Job, JobAnswer, JobOptions, JobsAnswer, WorkerInfo, WorkerJob

LISTED = 200
"""Most jobs in a list; those in progress are always among them."""
SEEN_EVERY = timedelta(seconds=5)
"""How often the progress of a job is kept; its state always is."""
PATIENCE = timedelta(seconds=60)
"""How long a job in progress is believed in while its worker does not answer."""
LOST = "job_lost"
"""Code of a job whose worker ended before it."""
T = TypeVar("T")
Told = Mapping[str, Mapping[str, Job]]
"""Jobs by the worker that tells of them, and by id. A worker that does not answer is missing."""

log = logging.getLogger(__name__)


class NoJobs(KeyscopeError, status=409):
    """No live worker with the run's weights computes analyses."""


class UnknownJob(NotFound):
    """There never was such a job."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A job, the worker that computes it, and when that told of it last."""

    job: Job
    worker: str
    seen_at: datetime

    @property
    def active(self) -> bool:
        """Whether it was queued or running."""
        return self.job.state in ACTIVE_JOB


class Jobs:
    """The jobs of all workers, past and present."""

    def __init__(self, workers: Workers, database: Database, registry: Registry) -> None:
        self._workers = workers
        self._database = database
        self._registry = registry

    async def computing(self, manifest: Manifest) -> WorkerInfo | None:
        """The worker that can compute analyses of a run now; None if there is none."""
        try:
            return (await self._computing(manifest))[1]
        except KeyscopeError:
            return None

    async def start(self, manifest: Manifest, asked: JobOptions) -> Job:
        """Start an analysis of a run.

        Raises:
            NoJobs: workers answer, but none computes analyses of this run.
            WorkerUnavailable, WorkerRefused, WorkerFailed: nothing was started.
        """
        worker, _ = await self._computing(manifest)
        wanted = WorkerJob(**asked.model_dump(), weights_sha256=manifest.model.weights_sha256)
        job = (await worker.whole("jobs", wanted, JobAnswer)).job
        await self._keep([Kept(job, worker.url, datetime.now(UTC))])
        return job

    async def list(self, run: str | None = None) -> list[Job]:
        """Jobs of one run or of all, the latest first."""
        told = await self._told()
        kept = {each.job.id: each for each in await self._recall(partial(_latest, run=run), list[Kept]())}
        now = datetime.now(UTC)
        new = {
            job.id: Kept(job, url, now) for url, jobs in told.items() for job in jobs.values() if run in (None, job.run)
        }
        settled = await run_in_threadpool(lambda: {name: self._settled(each, told) for name, each in kept.items()})
        await self._keep(each for name, each in (new | settled).items() if _is_news(each, kept.get(name)))
        return sorted((each.job for each in (new | settled).values()), key=lambda job: job.submitted, reverse=True)

    async def get(self, name: str) -> Job:
        """Look a job up: at its worker while it is in progress, in the records after that.

        Raises:
            UnknownJob: there never was one.
            WorkerFailed: its worker's answer cannot be read.
        """
        kept = await self._find(name)
        return (await self._ask(kept, "GET")).job if kept.active else kept.job

    async def cancel(self, name: str) -> Job:
        """Stop a job; its finished steps are kept.

        Raises:
            UnknownJob: there never was one.
            WorkerUnavailable, WorkerFailed: its worker does not answer.
        """
        kept = await self._find(name)
        if not kept.active:
            return kept.job
        stopped = await self._ask(kept, "DELETE")
        if stopped is kept:
            raise WorkerUnavailable(f"the live worker at {kept.worker}, which computes the job, does not answer")
        return stopped.job

    async def _ask(self, kept: Kept, method: Method) -> Kept:
        """What the worker of a job in progress says of it; the same as before if it does not answer."""
        told: dict[str, dict[str, Job]] = {}
        worker = await self._workers.at(kept.worker)
        if worker is not None:
            try:
                job = (await worker.whole(f"jobs/{kept.job.id}", None, JobAnswer, method)).job
                told = {kept.worker: {job.id: job}}
            except WorkerRefused as refusal:
                if refusal.status != NotFound.status:
                    raise
                told = {kept.worker: {}}
            except WorkerUnavailable:
                pass
        now = await run_in_threadpool(self._settled, kept, told)
        await self._keep([now] if _is_news(now, kept) else [])
        return now

    async def _find(self, name: str) -> Kept:
        if name.isalnum() and name.isascii():
            kept = await self._recall(partial(_one, name=name), None)
            if kept is not None:
                return kept
            for url, jobs in (await self._told()).items():  # one that was started at the worker itself
                if name in jobs:
                    return Kept(jobs[name], url, datetime.now(UTC))
        raise UnknownJob(f"there is no job {name!r}")

    async def _told(self) -> Told:
        found = {}
        for worker, info in (await self._workers.all())[0]:
            try:
                jobs = (await worker.whole("jobs", None, JobsAnswer, "GET")).jobs if info.jobs else []
            except WorkerUnavailable:
                continue  # it has ended since it said who it is
            found[worker.url] = {job.id: job for job in jobs}
        return found

    async def _computing(self, manifest: Manifest) -> tuple[Worker, WorkerInfo]:
        await self._workers.find(manifest)  # raises the better sentence if no worker fits at all
        found, _ = await self._workers.all()
        weights = manifest.model.weights_sha256
        fitting = {worker.url: (worker, info) for worker, info in found if info.jobs and info.weights_sha256 == weights}
        if not fitting:
            raise NoJobs(
                f"the live worker of {manifest.run_id} computes no analyses: start `keyscope worker` with --runs, or run "
                "`keyscope analyse`"
            )
        # One worker for all jobs of a run: equal jobs are then one job, and none waits for another's lock on the files.
        kept = await self._recall(partial(_latest, run=manifest.run_id), list[Kept]())
        busy = [each.worker for each in kept if each.active and each.worker in fitting]
        return fitting[busy[0] if busy else min(fitting, key=lambda url: _draw(manifest.run_id, url))]

    def _settled(self, kept: Kept, told: Told) -> Kept:
        """A job as it is by what the workers tell: also one whose worker does not know it any more."""
        if not kept.active:
            return kept
        now = datetime.now(UTC)
        jobs = told.get(kept.worker)
        if jobs is None:
            return kept if now - kept.seen_at < PATIENCE else replace(kept, job=self._ended(kept.job, now))
        if kept.job.id in jobs:
            return Kept(jobs[kept.job.id], kept.worker, now)
        return replace(kept, job=self._ended(kept.job, now))

    def _ended(self, job: Job, now: datetime) -> Job:
        """A job that ended unseen: done if what it computes is there, otherwise lost with its worker."""
        ended: dict[str, object] = {"ahead": 0, "stopping": False, "progress": None, "finished": now}
        if self._is_there(job):
            return job.model_copy(update={**ended, "state": "done"})
        said = "the worker ended before the job did: start it again, and it goes on after its last finished step"
        return job.model_copy(update={**ended, "state": "failed", "error": LOST, "detail": said})

    def _is_there(self, job: Job) -> bool:
        try:
            analyses = self._registry.get(job.run).analyses.items()
        except KeyscopeError:
            return False
        since = {kind for (kind, part), made in analyses if part == job.part and made.finished >= job.submitted}
        return set(job.kinds) <= since

    async def _recall(self, read: Callable[[Session], T], otherwise: T) -> T:
        """What the records say; without the database, jobs are still what their workers tell."""
        try:
            return await run_in_threadpool(self._database.read, read)
        except DatabaseUnavailable as error:
            log.warning("the records of jobs cannot be read: %s", error)
            return otherwise

    async def _keep(self, news: Iterable[Kept]) -> None:
        news = list(news)
        if not news:
            return
        try:
            await run_in_threadpool(self._database.write, partial(_put, news=news))
        except DatabaseUnavailable as error:
            log.warning("jobs cannot be recorded: %s", error)


def _latest(session: Session, run: str | None) -> list[Kept]:
    chosen = select(JobRecord)
    if run is not None:
        chosen = chosen.where(JobRecord.run == run)
    latest = chosen.order_by(JobRecord.submitted_at.desc()).limit(LISTED).with_only_columns(JobRecord.id)
    wanted = chosen.where(or_(JobRecord.state.in_(ACTIVE_JOB), JobRecord.id.in_(latest.scalar_subquery())))
    return [_kept(record) for record in session.scalars(wanted.order_by(JobRecord.submitted_at.desc()))]


def _one(session: Session, name: str) -> Kept | None:
    record = session.get(JobRecord, name)
    return None if record is None else _kept(record)


def _kept(record: JobRecord) -> Kept:
    return Kept(Job.model_validate(record.told), record.worker, record.seen_at)


def _put(session: Session, news: Iterable[Kept]) -> None:
    """Record jobs; what has ended stays as it ended, whoever looked before and writes later."""
    for each in news:
        record = session.get(JobRecord, each.job.id, with_for_update=True)
        if record is None:
            record = JobRecord(id=each.job.id, run=each.job.run, submitted_at=each.job.submitted)
            session.add(record)
        elif record.state not in ACTIVE_JOB:
            continue
        record.worker, record.state, record.seen_at = each.worker, each.job.state, each.seen_at
        record.told = each.job.model_dump(mode="json")


def _is_news(now: Kept, kept: Kept | None) -> bool:
    return kept is None or now.job.state != kept.job.state or (kept.active and now.seen_at - kept.seen_at > SEEN_EVERY)


def _draw(run: str, url: str) -> str:
    """Orders workers differently for every run, and the same in every process."""
    return hashlib.sha256(f"{run} {url}".encode()).hexdigest()
