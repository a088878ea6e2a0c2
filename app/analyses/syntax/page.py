"""`/runs/{run}/syntax`: what kinds of code the keys of each layer fire on, from shallow to semantic."""

from collections.abc import Callable
from typing import Literal

import duckdb
import plotly.graph_objects as go
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from keyscope.app.analyses.page import Subject, respond_with_analysis
from keyscope.app.analyses.syntax import claims
from keyscope.app.analyses.syntax import figures as drawing
from keyscope.app.analyses.syntax.sections import blocks
from keyscope.app.analyses.syntax.values import NODES, most_common, role_titles
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import keys_of_kind
from keyscope.app.queries.syntax import layer_measures, layer_values
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, OpenRun
from keyscope.app.web.render import MaskText
from keyscope.contract.analyses.syntax import ROLES
from keyscope.contract.keys import KeyId

router = APIRouter()
FigureName = Literal[
    "score", "entropy", "locality", "concentration", "families", "family_chance", "role_lifts", "node_lifts"
]
SUBJECT = Subject("syntax", "Syntax", "analyses/syntax.html", claims.CLAIMS)


@router.get("/runs/{run}/syntax", name="syntax_page")
def syntax_page(
    request: Request, run: OpenRun, cursor: Cursor, database: LabelsDatabase, mask: MaskText = ""
) -> HTMLResponse:
    """What the keys of a run fire on."""
    return respond_with_analysis(
        request, run, cursor, mask, SUBJECT, lambda links: blocks(run, cursor, links, _labelled(database, run))
    )


@router.get("/runs/{run}/syntax/figures/{figure}", name="syntax_figure")
def syntax_figure(run: OpenRun, cursor: Cursor, figure: FigureName) -> Response:
    """One figure of the page."""
    return Response(_FIGURES[figure](cursor).to_json(), media_type="application/json")


def _labelled(database: Database, run: Run) -> dict[Kind, list[KeyId]]:
    """The keys of people's labels by kind; none while the labels cannot be read."""
    weights = run.manifest.model.weights_sha256
    try:
        return database.read(lambda session: {kind: keys_of_kind(session, weights, kind) for kind in Kind})
    except DatabaseUnavailable:
        return {}


def _roles(cursor: duckdb.DuckDBPyConnection) -> go.Figure:
    found = layer_values(cursor, "role")
    return drawing.lifts(found, [role for role in ROLES if role in found], role_titles())


def _nodes(cursor: duckdb.DuckDBPyConnection) -> go.Figure:
    found = layer_values(cursor, "node")
    return drawing.lifts(found, most_common(found, NODES), {})


_FIGURES: dict[FigureName, Callable[[duckdb.DuckDBPyConnection], go.Figure]] = {
    "score": lambda cursor: drawing.score(layer_measures(cursor)),
    "entropy": lambda cursor: drawing.entropy(layer_measures(cursor)),
    "locality": lambda cursor: drawing.locality(layer_measures(cursor)),
    "concentration": lambda cursor: drawing.concentration(layer_measures(cursor)),
    "families": lambda cursor: drawing.families(layer_measures(cursor)),
    "family_chance": lambda cursor: drawing.family_chance(layer_measures(cursor)),
    "role_lifts": _roles,
    "node_lifts": _nodes,
}
