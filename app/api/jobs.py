"""Jobs: start, watch and stop analyses of runs on a live worker."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Labeler
from keyscope.app.live import jobs
from keyscope.app.web.dependencies import LiveWorkers, Runs
from keyscope.app.web.shapes import failures
from keyscope.contract.wire import JobAnswer, JobOptions, JobsAnswer

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post("", status_code=202, responses=failures(403, 404, 409, 422, 429, 502, 503))
async def start_job(body: JobOptions, runs: Runs, workers: LiveWorkers, person: Labeler) -> JobAnswer:
    """Start an analysis of a run; if an equal job is already waiting or running, return that one."""
    run = await run_in_threadpool(runs.get, body.run)
    return JobAnswer(job=await jobs.start_job(workers, run.manifest, body))


@router.get("", responses=failures(422, 502, 503))
async def list_jobs(
    workers: LiveWorkers, run: Annotated[str | None, Query(description="Only jobs of this run")] = None
) -> JobsAnswer:
    """Jobs that are waiting, running or recently ended; a worker forgets them when it restarts."""
    return JobsAnswer(jobs=await jobs.list_jobs(workers, run))


@router.get("/{job}", responses=failures(404, 422, 502, 503))
async def show_job(job: str, workers: LiveWorkers) -> JobAnswer:
    """The state and progress of a job."""
    return JobAnswer(job=await jobs.get_job(workers, job))


@router.delete("/{job}", responses=failures(403, 404, 422, 502, 503))
async def cancel_job(job: str, workers: LiveWorkers, person: Labeler) -> JobAnswer:
    """Stop a job; its progress is kept, and an equal job resumes from there."""
    return JobAnswer(job=await jobs.cancel_job(workers, job))
