"""`/runs/{run}/agreement`: how far each layer's prediction is that of the whole model."""

from collections.abc import Callable
from typing import Literal

import duckdb
import plotly.graph_objects as go
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from keyscope.app.analyses.agreement import claims
from keyscope.app.analyses.agreement import figures as drawing
from keyscope.app.analyses.agreement.sections import ROLE_TITLES, blocks
from keyscope.app.analyses.page import Subject, respond_with_analysis
from keyscope.app.queries.agreement import (
    PartEstimate,
    context_estimates,
    key_estimates,
    layer_estimates,
    part_estimates,
    token_estimates,
)
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.render import MaskText

router = APIRouter()
FigureName = Literal[
    "by_layer",
    "four_ways",
    "depths",
    "events",
    "roles",
    "role_layers",
    "contexts",
    "contexts_full",
    "context_depths",
    "context_shares",
    "context_frequency",
    "neurons",
    "keys_by_layer",
    "keys_by_tenth",
]
SUBJECT = Subject("agreement", "Layer agreement", "analyses/layer_agreement.html", claims.CLAIMS)


@router.get("/runs/{run}/agreement", name="agreement_page")
def agreement_page(request: Request, run: OpenRun, cursor: Cursor, mask: MaskText = "") -> HTMLResponse:
    """Layer agreement of a run."""
    return respond_with_analysis(request, run, cursor, mask, SUBJECT, lambda links: blocks(cursor, links, run.run_id))


@router.get("/runs/{run}/agreement/figures/{figure}", name="agreement_figure")
def agreement_figure(run: OpenRun, cursor: Cursor, figure: FigureName) -> Response:
    """One figure of the page."""
    return Response(_FIGURES[figure](cursor).to_json(), media_type="application/json")


def _roles(cursor: duckdb.DuckDBPyConnection) -> list[PartEstimate]:
    return [each for each in token_estimates(cursor, "depth") if each.split == "role"]


_FIGURES: dict[FigureName, Callable[[duckdb.DuckDBPyConnection], go.Figure]] = {
    "by_layer": lambda cursor: drawing.by_layer(layer_estimates(cursor)),
    "four_ways": lambda cursor: drawing.four_ways(layer_estimates(cursor)),
    "depths": lambda cursor: drawing.depths(layer_estimates(cursor)),
    "events": lambda cursor: drawing.events(layer_estimates(cursor)),
    "neurons": lambda cursor: drawing.neurons(layer_estimates(cursor)),
    "roles": lambda cursor: drawing.roles(_roles(cursor), ROLE_TITLES),
    "role_layers": lambda cursor: drawing.role_layers(part_estimates(cursor, "residual", "role"), ROLE_TITLES),
    "contexts": lambda cursor: drawing.contexts(context_estimates(cursor), "residual"),
    "contexts_full": lambda cursor: drawing.contexts(context_estimates(cursor), "residual_full"),
    "context_depths": lambda cursor: drawing.context_depths(context_estimates(cursor)),
    "context_shares": lambda cursor: drawing.context_shares(context_estimates(cursor)),
    "context_frequency": lambda cursor: drawing.context_frequency(context_estimates(cursor)),
    "keys_by_layer": lambda cursor: drawing.keys_by_layer(key_estimates(cursor)),
    "keys_by_tenth": lambda cursor: drawing.keys_by_tenth(key_estimates(cursor)),
}
