"""`/runs/{run}`: a run's model, corpus and layers, and keys to start with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app import queries
from keyscope.app.queries import KeyRow, LayerSummary
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.links import Links
from keyscope.app.web.render import Crumb, Frame, Help, Page, RunLinks, respond

router = APIRouter()

STARTS = 8
"""Keys in each list of starting points."""


@dataclass(frozen=True, slots=True)
class OverviewPage(Page):
    layers: Annotated[list[LayerSummary], Help("Every layer in numbers")]
    specific: Annotated[list[KeyRow], Help("Keys of highest kurtosis, which fire on a few tokens only")]
    strongest: Annotated[list[KeyRow], Help("Keys that write most on average")]
    claim_figure: Annotated[
        str | None, Help("Address of the figure of the paper's claim; None until syntax is computed")
    ]
    size: Annotated[int, Help("Bytes of the run file")]


@router.get("/runs/{run}", name="run_page")
def run_page(request: Request, run: OpenRun, cursor: Cursor, links: RunLinks) -> HTMLResponse:
    """The overview of a run."""
    page = OverviewPage(
        frame=Frame(run.run_id, links, run.manifest, crumbs=(Crumb("runs", links.runs()),)),
        layers=run.recall(queries.layer_summaries, cursor),
        specific=run.recall(queries.specific_keys, cursor, run.vocabulary, STARTS),
        strongest=run.recall(queries.strongest_keys, cursor, run.vocabulary, STARTS),
        claim_figure=_claim_figure(run, links),
        size=run.path.stat().st_size,
    )
    return respond(request, "keys/overview.html", page)


def _claim_figure(run: Run, links: Links) -> str | None:
    if ("syntax", None) not in run.analyses:
        return None
    return links.to("syntax_figure", run=run.run_id, figure="score")


@router.get("/runs/{run}/random", name="random_key_page")
def random_key_page(run: OpenRun, links: RunLinks) -> RedirectResponse:
    """Any key of the run."""
    return RedirectResponse(links.key(run.run_id, queries.random_key(run.manifest)), status_code=302)
