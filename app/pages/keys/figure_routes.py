"""The figures of the pages as Plotly JSON, loaded by the pages' script."""

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response

from keyscope.app import queries
from keyscope.app.pages.keys import figures as drawing
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.dependencies import Cursor, Layer, OpenRun
from keyscope.app.web.drawing import as_json

router = APIRouter()

Measure = Literal["firing_rate", "kurtosis", "languages"]


@router.get("/runs/{run}/figures/{measure}", name="layers_figure")
def layers_figure(run: OpenRun, cursor: Cursor, measure: Measure) -> Response:
    """One measure of every layer."""
    layers = queries.layer_summaries(cursor)
    if measure == "firing_rate":
        return as_json(drawing.firing_rate_by_layer(layers))
    if measure == "kurtosis":
        return as_json(drawing.kurtosis_by_layer(layers))
    return as_json(drawing.languages_by_layer(layers, _titles(run)))


@router.get("/runs/{run}/layers/{layer}/map", name="map_figure")
def map_figure(run: OpenRun, layer: Layer, cursor: Cursor) -> Response:
    """Every key of a layer."""
    return as_json(drawing.map_of_layer(layer, queries.layer_map(cursor, layer), _titles(run)))


def _titles(run: Run) -> dict[str, str]:
    return {language: formats.language(language) for language in run.manifest.languages}
