"""`/runs/{run}`: what a run is, its layers, and where to start."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app import queries
from keyscope.app.queries import KeyRow, LayerSummary
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, MaskText, Page, basket_of, respond

router = APIRouter()

STARTS = 8
"""Keys in each list of where to start."""


@dataclass(frozen=True, slots=True)
class OverviewPage(Page):
    """What the overview of a run shows."""

    layers: Annotated[list[LayerSummary], Help("Every layer in numbers")]
    specific: Annotated[list[KeyRow], Help("Keys of highest kurtosis: silent but for a few tokens")]
    strongest: Annotated[list[KeyRow], Help("Keys that write most on average")]
    size: Annotated[int, Help("Bytes of the run file")]


@router.get("/runs/{run}", name="run_page")
def run_page(request: Request, run: OpenRun, cursor: Cursor, mask: MaskText = "") -> HTMLResponse:
    """The overview of a run."""
    links = Links(request, basket_of(request, run.run_id, mask))
    page = OverviewPage(
        frame=Frame(title=run.run_id, links=links, run=run.manifest, here="runs", section="run_page"),
        layers=queries.layer_summaries(cursor),
        specific=queries.specific_keys(cursor, run.vocabulary, STARTS),
        strongest=queries.strongest_keys(cursor, run.vocabulary, STARTS),
        size=run.path.stat().st_size,
    )
    return respond(request, "keys/overview.html", page)


@router.get("/runs/{run}/random", name="random_key_page")
def random_key_page(request: Request, run: OpenRun, mask: MaskText = "") -> RedirectResponse:
    """Any key of the run."""
    links = Links(request, basket_of(request, run.run_id, mask))
    return RedirectResponse(links.key(run.run_id, queries.random_key(run.manifest)), status_code=302)
