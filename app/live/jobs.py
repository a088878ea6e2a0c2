"""Starts, lists and stops the live workers' jobs: analyses of runs."""

from keyscope.app.errors import NotFound
from keyscope.app.live.client import Method, Worker, WorkerRefused, Workers, WorkerUnavailable
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import Job, JobAnswer, JobOptions, JobsAnswer, WorkerInfo, WorkerJob


class NoJobs(KeyscopeError, status=409):
    """No live worker with the run's weights computes analyses."""


class UnknownJob(NotFound):
    """No live worker knows the job."""


async def computing(workers: Workers, manifest: Manifest) -> WorkerInfo | None:
    """The worker that can compute analyses of a run now; None if there is none."""
    try:
        return (await _computing(workers, manifest))[1]
    except KeyscopeError:
        return None


async def start_job(workers: Workers, manifest: Manifest, asked: JobOptions) -> Job:
    """Start an analysis of a run.

    Raises:
        NoJobs: workers answer, but none computes analyses of this run.
        WorkerUnavailable, WorkerRefused, WorkerFailed: nothing was started.
    """
    worker, _ = await _computing(workers, manifest)
    wanted = WorkerJob(**asked.model_dump(), weights_sha256=manifest.model.weights_sha256)
    return (await worker.whole("jobs", wanted, JobAnswer)).job


async def list_jobs(workers: Workers, run: str | None = None) -> list[Job]:
    """Jobs of all workers that answer, of one run or of all, the latest first."""
    found = []
    for worker, info in (await workers.all())[0]:
        if info.jobs:
            found += (await worker.whole("jobs", None, JobsAnswer, "GET")).jobs
    wanted = [job for job in found if run is None or job.run == run]
    return sorted(wanted, key=lambda job: job.submitted, reverse=True)


async def get_job(workers: Workers, name: str) -> Job:
    """Look a job up.

    Raises:
        UnknownJob: no worker that answers knows it.
        WorkerUnavailable, WorkerFailed: no worker answers.
    """
    return await _of_any(workers, name, "GET")


async def cancel_job(workers: Workers, name: str) -> Job:
    """Stop a job; its finished steps are kept.

    Raises:
        UnknownJob: no worker that answers knows it.
        WorkerUnavailable, WorkerFailed: no worker answers.
    """
    return await _of_any(workers, name, "DELETE")


async def _of_any(workers: Workers, name: str, method: Method) -> Job:
    if name.isalnum() and name.isascii():
        for worker in await _all_computing(workers):
            try:
                return (await worker.whole(f"jobs/{name}", None, JobAnswer, method)).job
            except WorkerRefused as refusal:
                if refusal.status != NotFound.status:
                    raise
    raise UnknownJob(f"there is no job {name!r}: jobs are forgotten when their worker restarts")


async def _all_computing(workers: Workers) -> list[Worker]:
    found, problems = await workers.all()
    if not found and problems:
        raise WorkerUnavailable("; ".join(problems))
    return [worker for worker, info in found if info.jobs]


async def _computing(workers: Workers, manifest: Manifest) -> tuple[Worker, WorkerInfo]:
    await workers.find(manifest)  # raises the better sentence if no worker fits at all
    found, _ = await workers.all()
    for worker, info in found:
        if info.jobs and info.weights_sha256 == manifest.model.weights_sha256:
            return worker, info
    raise NoJobs(
        f"the live worker of {manifest.run_id} computes no analyses: start `keyscope worker` with --runs, or run "
        "`keyscope analyse`"
    )
