"""Jobs: start, watch and stop analyses of runs on a live worker."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Labeler
from keyscope.app.web.dependencies import LiveJobs, Runs
from keyscope.app.web.shapes import failures
from keyscope.contract.wire import JobAnswer, JobOptions, JobsAnswer

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post("", status_code=202, responses=failures(403, 404, 409, 422, 429, 502, 503))
async def start_job(body: JobOptions, runs: Runs, jobs: LiveJobs, person: Labeler) -> JobAnswer:
    """Start an analysis of a run; if an equal job is already waiting or running, return that one."""
    run = await run_in_threadpool(runs.get, body.run)
    return JobAnswer(job=await jobs.start(run.manifest, body))


@router.get("", responses=failures(422, 502, 503))
async def list_jobs(
    jobs: LiveJobs, run: Annotated[str | None, Query(description="Only jobs of this run")] = None
) -> JobsAnswer:
    """Jobs that are waiting, running or ended, the latest 200 of them."""
    return JobsAnswer(jobs=await jobs.list(run))


@router.get("/{job}", responses=failures(404, 422, 502, 503))
async def show_job(job: str, jobs: LiveJobs) -> JobAnswer:
    """The state and progress of a job; one whose worker ended before it has failed as `job_lost`."""
    return JobAnswer(job=await jobs.get(job))


@router.delete("/{job}", responses=failures(403, 404, 422, 502, 503))
async def cancel_job(job: str, jobs: LiveJobs, person: Labeler) -> JobAnswer:
    """Stop a job; its progress is kept, and an equal job resumes from there."""
    return JobAnswer(job=await jobs.cancel(job))
