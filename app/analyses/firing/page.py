"""`/runs/{run}/firing`: when keys fire, by layer, and the keys that stand out."""

from collections.abc import Callable
from typing import Literal

import plotly.graph_objects as go
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from keyscope.app.analyses.firing import claims
from keyscope.app.analyses.firing import figures as drawing
from keyscope.app.analyses.firing.figures import Found
from keyscope.app.analyses.firing.sections import blocks
from keyscope.app.analyses.page import Subject, respond_with_analysis
from keyscope.app.queries.firing import layer_numbers
from keyscope.app.web import formats
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.render import MaskText

router = APIRouter()
FigureName = Literal[
    "active", "detectors", "tokens", "suppression", "positions", "languages", "best_f1", "classes", "cosines"
]
Titles = dict[str, str]
SUBJECT = Subject("firing", "When keys fire", "analyses/firing.html", claims.CLAIMS)


@router.get("/runs/{run}/firing", name="firing_page")
def firing_page(request: Request, run: OpenRun, cursor: Cursor, mask: MaskText = "") -> HTMLResponse:
    """When the keys of a run fire."""
    return respond_with_analysis(request, run, cursor, mask, SUBJECT, lambda links: blocks(run, cursor, links))


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
