"""The figures of a run and its layers as Plotly JSON: data and axes only; the page adds colours and fonts for its theme.

Points of the map carry the index of their key as custom data, bars the number of their layer. Languages come as name → title.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Literal

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from fastapi import APIRouter
from fastapi.responses import Response

from keyscope.app import queries
from keyscope.app.queries import LayerMap, LayerSummary
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Layer, OpenRun
from keyscope.app.web.drawing import as_json, by_layer

router = APIRouter(route_class=RunRoute)
Measure = Literal["firing_rate", "kurtosis", "languages"]
Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]

SIZE, CROWDED_SIZE = 6.0, 3.5
"""Diameter of a point on the map in pixels: normally, and on a crowded map."""
CROWDED = 2000


@router.get("/runs/{run}/figures/{measure}", name="layers_figure")
def layers_figure(run: OpenRun, cursor: Cursor, measure: Measure) -> Response:
    """One measure of every layer."""
    layers = queries.layer_summaries(cursor)
    if measure == "firing_rate":
        return as_json(firing_rate_by_layer(layers))
    if measure == "kurtosis":
        return as_json(kurtosis_by_layer(layers))
    return as_json(languages_by_layer(layers, _titles(run)))


@router.get("/runs/{run}/layers/{layer}/map", name="map_figure")
def map_figure(run: OpenRun, layer: Layer, cursor: Cursor) -> Response:
    """Every key of a layer."""
    return as_json(map_of_layer(f"{run.manifest.model.stack}{layer}", queries.layer_map(cursor, layer), _titles(run)))


def firing_rate_by_layer(layers: Sequence[LayerSummary]) -> go.Figure:
    """The mean share of tokens on which the keys of each layer fire."""
    rates = [layer.mean_firing_rate for layer in layers]
    figure = go.Figure(_layer_bars(layers, rates, "fires on %{y:.2%} of tokens on average"))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return by_layer(figure, bargap=0.25)


def kurtosis_by_layer(layers: Sequence[LayerSummary]) -> go.Figure:
    """The median kurtosis of the keys of each layer, on a logarithmic axis."""
    numbers = [layer.layer for layer in layers]
    figure = go.Figure(
        go.Scatter(
            x=numbers,
            y=[layer.median_kurtosis for layer in layers],
            customdata=numbers,
            mode="lines+markers",
            marker={"size": 9},
            hovertemplate="layer %{x}<br>median kurtosis %{y:.3~g}<extra></extra>",
        )
    )
    figure.update_yaxes(type="log", minor_showgrid=False)
    return by_layer(figure, bargap=0.25)


def languages_by_layer(layers: Sequence[LayerSummary], languages: Mapping[str, str]) -> go.Figure:
    """The share of each layer's live keys that fire most often in each language."""
    figure = go.Figure(
        [
            _layer_bars(
                layers,
                [layer.languages.get(language, 0.0) for layer in layers],
                f"%{{y:.0%}} of the live keys fire most in {title}",
                title,
            )
            for language, title in languages.items()
        ]
    )
    figure.update_layout(barmode="stack", showlegend=True)
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return by_layer(figure, bargap=0.25)


def map_of_layer(layer: str, keys: LayerMap, languages: Mapping[str, str]) -> go.Figure:
    """Firing rate against largest coefficient of every key, one trace per preferred language.

    Keys that never fire have no place on the logarithmic axis; they get a separate trace at its left edge.
    """
    rates = np.array([rate or 0.0 for rate in keys.firing_rate], np.float32)
    heights = np.array([nan if value is None else value for value in keys.maximum], np.float32)
    preferred = np.array(keys.top_language, object)
    edge = rates[rates > 0].min() / 2 if rates.any() else np.float32(1)
    places = np.where(rates > 0, rates, edge)
    chosen = [(title, np.flatnonzero((rates > 0) & (preferred == language))) for language, title in languages.items()]
    chosen.append(("never fires", np.flatnonzero(rates == 0)))
    size = CROWDED_SIZE if len(rates) > CROWDED else SIZE
    figure = go.Figure([_points(layer, title, at, places[at], heights[at], size) for title, at in chosen if len(at)])
    ticks = [step * 10.0**power for power in range(-8, 0) for step in (1, 2, 5)] + [1.0]
    figure.update_xaxes(type="log", title="share of tokens on which the key fires", tickvals=ticks, tickformat="~%")
    figure.update_yaxes(title="largest coefficient")
    figure.update_layout(showlegend=True, hovermode="closest", dragmode="zoom")
    return figure


def _points(layer: str, name: str, indices: Indices, x: Values, y: Values, size: float) -> go.Scattergl:
    return go.Scattergl(
        x=x,
        y=y,
        customdata=indices.astype(np.int32),
        name=name,
        mode="markers",
        marker={"size": size, "opacity": 0.7, "symbol": "x-thin-open" if name == "never fires" else "circle"},
        hovertemplate=f"{layer}.K%{{customdata}}<br>fires on %{{x:.2~p}}<br>at most %{{y:.3~g}}<extra></extra>",
    )


def _layer_bars(
    layers: Sequence[LayerSummary], heights: Sequence[float | None], hover: str, name: str | None = None
) -> go.Bar:
    numbers = [layer.layer for layer in layers]
    return go.Bar(
        x=numbers, y=heights, customdata=numbers, name=name, hovertemplate=f"layer %{{x}}<br>{hover}<extra></extra>"
    )


def _titles(run: Run) -> dict[str, str]:
    return {language: formats.language(language) for language in run.manifest.languages}
