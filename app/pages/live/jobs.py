"""`/runs/{run}/jobs`: analyses of a run computed by a worker: progress, start and stop."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app.accounts.identity import Labeler
from keyscope.app.analyses import kinds
from keyscope.app.live.jobs import LOST, Jobs
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.dependencies import LiveJobs, OpenRun
from keyscope.app.web.forms import FormModel, PageState, see_other, way_back
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond
from keyscope.app.web.where_from import path_of
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ACTIVE_JOB, Job, JobOptions

router = APIRouter()

_KINDS = {kind.name: kind for kind in kinds.KINDS}
BY_FORM = ("edit",)
"""Kinds started by their own form, because they need settings."""
STATES = {
    "queued": "waits for its turn",
    "running": "is being computed",
    "done": "is done",
    "failed": "failed",
    "cancelled": "was stopped",
}


class JobsState(PageState):
    """Which jobs of a run are shown."""

    kind: str = ""
    about: str = ""
    """Concept the jobs are about."""
    banner: bool = False
    """Whether only one line is shown: what is being computed, and what is missing."""
    watching: str = ""
    """Ids of the jobs that were active when the page was drawn, separated by commas."""


class StartForm(FormModel):
    """An analysis to start with default settings, and the page to return to."""

    kind: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class ShownJob:
    """One job."""

    job: Job
    title: str
    said: str
    """Its state, in words."""
    active: bool
    done: float
    """Progress, 0 to 1."""
    amount: str
    """Progress, rate and time left."""
    cancel_href: str


@dataclass(frozen=True, slots=True)
class Startable:
    """An analysis that can be started."""

    kind: str
    about: str
    """What it shows."""
    takes: str | None
    """How long it takes on this worker, about; None if that is not known."""
    stopped: bool
    """Whether an earlier attempt was stopped, so it is resumed."""


@dataclass(frozen=True, slots=True)
class JobsPage(Page):
    jobs: Annotated[list[ShownJob], Help("Queued, running and recently ended jobs, latest first")]
    poll_href: Annotated[str | None, Help("Address to poll while a job is active; None otherwise")]
    start: Annotated[list[Startable], Help("Missing analyses that can be started")]
    heading: Annotated[
        str | None, Help("How far the one kind shown is; None if it is computed, or others are shown too")
    ]
    about: Annotated[str, Help("What the one kind shown is about")]
    banner: Annotated[bool, Help("Whether only one line is shown")]
    start_href: Annotated[str, Help("Where the form that starts one is sent")]
    next: Annotated[str, Help("Page to return to after that form")]
    part: Annotated[bool, Help("Whether only some jobs are shown, inside another page")]
    problem: Annotated[str | None, Help("Why the jobs could not be listed")]


@router.get("/runs/{run}/jobs", name="jobs_page")
async def jobs_page(
    request: Request, run: OpenRun, jobs: LiveJobs, state: Annotated[JobsState, Query()], links: RunLinks
) -> HTMLResponse:
    """The jobs of a run, or those of one kind or about one concept; a page watching a job reloads when it is done."""
    found, problem = await _found(jobs, run, state)
    active = [job.id for job in found if job.state in ACTIVE_JOB]
    watched = [job for job in found if job.id in state.watching.split(",")]
    page = JobsPage(
        frame=Frame.of_run("Jobs", links, run.manifest),
        jobs=[_shown(job, links) for job in found],
        poll_href=links.page("jobs_page", run=run.run_id, **state.query(watching=",".join(active))) if active else None,
        start=await _startable(jobs, run, state, found),
        heading=_heading(run, state, found),
        about=_KINDS[state.kind].about if state.kind in _KINDS else "",
        banner=state.banner,
        start_href=links.to("start_job", run=run.run_id),
        next=_shown_on(request),
        part=bool(state.kind or state.about),
        problem=problem,
    )
    response = respond(request, "live/jobs.html", page)
    if any(job.state == "done" for job in watched):
        response.headers["HX-Refresh"] = "true"
    return response


@router.post("/runs/{run}/jobs", name="start_job")
async def start_job(
    request: Request, run: OpenRun, jobs: LiveJobs, person: Labeler, form: Annotated[StartForm, Form()]
) -> RedirectResponse:
    """Start an analysis with its default settings, and return to the page that shows its progress.

    Raises:
        NoJobs, WorkerUnavailable, WorkerRefused, WorkerFailed: nothing was started.
    """
    await jobs.start(run.manifest, JobOptions(run=run.run_id, kind=form.kind))
    return see_other(_next(request, run, form.next))


@router.post("/runs/{run}/jobs/{job}/cancel", name="cancel_job")
async def cancel_job(
    request: Request, run: OpenRun, job: str, jobs: LiveJobs, person: Labeler, form: Annotated[StartForm, Form()]
) -> RedirectResponse:
    """Stop a job.

    Raises:
        UnknownJob, WorkerUnavailable, WorkerFailed: there is nothing to stop.
    """
    await jobs.cancel(job)
    return see_other(_next(request, run, form.next))


async def _found(jobs: Jobs, run: Run, state: JobsState) -> tuple[list[Job], str | None]:
    """The jobs to show, without those that a later job has taken up again."""
    try:
        found = await jobs.list(run.run_id)
    except KeyscopeError as error:
        return [], error.detail
    latest: dict[str, Job] = {}
    for job in found:
        latest.setdefault(job.model_dump_json(include={"kind", "part", "settings"}), job)
    chosen = [
        job
        for job in latest.values()
        if state.kind in ("", *job.kinds) and state.about in ("", job.settings.get("concept"))
    ]
    return [job for job in chosen if job.state in ACTIVE_JOB] if state.banner else chosen, None


async def _startable(jobs: Jobs, run: Run, state: JobsState, found: list[Job]) -> list[Startable]:
    """What can be started: not computed, not in progress, and needing no settings."""
    under_way = {kind for job in found if job.state in ACTIVE_JOB for kind in job.kinds}
    there = {kind for kind, _ in run.analyses}
    missing = [
        kind for kind in KINDS if kind not in under_way | there and kind not in BY_FORM and state.kind in ("", kind)
    ]
    worker = await jobs.computing(run.manifest) if missing else None
    if worker is None:
        return []
    stopped = {kind for job in found if job.state == "cancelled" or job.error == LOST for kind in job.kinds}
    tokens = sum(counts.tokens for counts in run.manifest.corpus.languages)
    return [_offered(kind, tokens, worker.forward_tokens_per_second, kind in stopped) for kind in missing]


def _offered(kind: str, tokens: int, rate: float | None, stopped: bool) -> Startable:
    known = _KINDS.get(kind)
    passes = known.passes if known else None
    takes = formats.roughly(passes * tokens / rate) if passes and rate else None
    return Startable(kind, known.about if known else "", takes, stopped)


def _heading(run: Run, state: JobsState, found: list[Job]) -> str | None:
    if not state.kind or state.about or state.kind in {kind for kind, _ in run.analyses}:
        return None
    if any(job.state == "running" for job in found):
        return "Being computed"
    if any(job.state == "queued" for job in found):
        return "Waiting for its turn"
    return "Not computed yet"


def _shown(job: Job, links: Links) -> ShownJob:
    progress = job.progress
    share = progress.done / progress.total if progress and progress.total else 0.0
    about = job.settings.get("concept")
    return ShownJob(
        job=job,
        title=f"{job.kind} of {about}" if about else ", ".join(job.kinds),
        said=_said(job, share),
        active=job.state in ACTIVE_JOB,
        done=share,
        amount=_amount(job),
        cancel_href=links.to("cancel_job", run=job.run, job=job.id),
    )


def _said(job: Job, share: float) -> str:
    if job.stopping:
        return "is stopping"
    if job.state == "queued" and job.ahead > 1:
        return "waits behind another" if job.ahead == 2 else f"waits behind {job.ahead - 1} others"
    if job.state == "cancelled" and share:
        return f"stopped at {formats.share(share)}, progress kept"
    return STATES[job.state]


def _amount(job: Job) -> str:
    """`analysing edit: 12,300 of 45,000 tokens, 3,200 a second, 2 min left`."""
    progress = job.progress
    if progress is None:
        return ""
    total = f" of {formats.count(round(progress.total))}" if progress.total else ""
    rate = f", {formats.number(progress.rate)} a second" if progress.rate else ""
    left = f", {formats.duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return f"{progress.stage}: {formats.count(round(progress.done))}{total} {progress.unit}{rate}{left}"


def _shown_on(request: Request) -> str:
    """The page showing the jobs: this one, or the one that embeds its fragment."""
    return path_of(request.headers.get("HX-Current-URL", "")) or path_of(str(request.url))


def _next(request: Request, run: Run, wanted: str) -> str:
    own = Links(request).to("jobs_page", run=run.run_id)
    return way_back(request, wanted) if wanted else own
