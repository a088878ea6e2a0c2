"""The worker's endpoints for jobs: start an analysis of a run, show its progress, stop it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from keyscope.contract.wire import ErrorAnswer, JobAnswer, JobsAnswer, WorkerJob
from keyscope.worker.live.jobs import Jobs

_MEANINGS = {
    401: "The token is missing or wrong",
    404: "The run, the analysis or the job does not exist",
    409: "The worker computes no analyses, or serves other weights",
    422: "A setting is wrong",
    429: "The queue of jobs is full; Retry-After says when to retry",
}
router = APIRouter(prefix="/jobs")


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.service.jobs
    return jobs


JobsOf = Annotated[Jobs, Depends(_jobs)]


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": _MEANINGS[status]} for status in statuses}


@router.post("", status_code=202, responses=_failures(401, 404, 409, 422, 429))
def start_job(body: WorkerJob, jobs: JobsOf) -> JobAnswer:
    """Queue an analysis of a run; live requests take precedence over all jobs."""
    return JobAnswer(job=jobs.submit(body))


@router.get("", responses=_failures(401))
def list_jobs(
    jobs: JobsOf, run: Annotated[str | None, Query(description="Only jobs of this run")] = None
) -> JobsAnswer:
    """Queued, running and recently ended jobs."""
    return JobsAnswer(jobs=jobs.known(run))


@router.get("/{job}", responses=_failures(401, 404))
def show_job(job: str, jobs: JobsOf) -> JobAnswer:
    """A job and its progress."""
    return JobAnswer(job=jobs.get(job))


@router.delete("/{job}", responses=_failures(401, 404))
def cancel_job(job: str, jobs: JobsOf) -> JobAnswer:
    """Stop a job; its finished steps are kept, and the same job continues from there."""
    return JobAnswer(job=jobs.cancel(job))
