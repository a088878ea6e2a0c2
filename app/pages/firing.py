"""`/runs/{run}/firing`: when keys fire, by layer, and the keys that stand out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import plotly.graph_objects as go
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app import drawing_firing as drawing
from app.dependencies import Cursor, OpenRun
from app.drawing_firing import Found
from app.findings import firing as claims
from app.findings.finding import Finding, Measured, Verdict
from app.pages import formats
from app.pages.analyses import AnalysisState, analysis_state
from app.pages.blocks import Block
from app.pages.firing_blocks import blocks
from app.pages.links import Links
from app.pages.render import Frame, Help, MaskText, Page, basket_of, respond
from app.queries.firing import layer_numbers

router = APIRouter()
FigureName = Literal[
    "active", "detectors", "tokens", "suppression", "positions", "languages", "best_f1", "classes", "cosines"
]
Titles = dict[str, str]


@dataclass(frozen=True, slots=True)
class FiringPage(Page):
    """What the page about when keys fire shows."""

    analysis: Annotated[AnalysisState, Help("How the analysis was computed, or how to compute it")]
    findings: Annotated[
        list[Finding], Help("What the literature says beside what was measured; empty without analysis")
    ]
    blocks: Annotated[list[Block], Help("Figures and tables, section by section; empty without analysis")]


@router.get("/runs/{run}/firing", name="firing_page")
def firing_page(request: Request, run: OpenRun, cursor: Cursor, mask: MaskText = "") -> HTMLResponse:
    """When the keys of a run fire."""
    links = Links(request, basket_of(run.run_id, mask))
    state = analysis_state(run, "firing")
    there = state.manifest is not None
    missing = Measured("", Verdict.MISSING)
    page = FiringPage(
        frame=Frame("When keys fire", links, run.manifest, layer=None, here="runs", section="firing_page"),
        analysis=state,
        findings=[Finding(claim, claim.measure(cursor, run.manifest) or missing) for claim in claims.CLAIMS]
        if there
        else [],
        blocks=blocks(run, cursor, links) if there else [],
    )
    return respond(request, "firing.html", page)


@router.get("/runs/{run}/firing/figures/{figure}", name="firing_figure")
def firing_figure(run: OpenRun, cursor: Cursor, figure: FigureName) -> Response:
    """One figure of the page."""
    titles = {name: formats.language(name) for name in run.manifest.languages}
    return Response(_FIGURES[figure](layer_numbers(cursor), titles).to_json(), media_type="application/json")


_FIGURES: dict[FigureName, Callable[[Found, Titles], go.Figure]] = {
    "active": drawing.active,
    "detectors": lambda found, _: drawing.shares(found, drawing.DETECTORS),
    "tokens": lambda found, _: drawing.tokens(found),
    "suppression": lambda found, _: drawing.shares(found, drawing.SUPPRESSION),
    "positions": lambda found, _: drawing.shares(found, drawing.POSITIONS),
    "languages": lambda found, _: drawing.shares(found, drawing.LANGUAGES),
    "best_f1": drawing.best_f1,
    "classes": lambda found, _: drawing.shares(found, drawing.CLASSES),
    "cosines": lambda found, _: drawing.numbers(found, drawing.COSINES),
}
