"""What figures have in common: the axis of layers, curves and bars with intervals, and the JSON a page loads."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import plotly.graph_objects as go
import plotly.io
from fastapi.responses import Response

from keyscope.app.queries.estimate import Estimate

FEW_LAYERS = 16
"""Up to this many layers, each has its number on the axis."""
Key = TypeVar("Key")

# The page's script brings its theme. A template would be most of a figure's bytes and of the time it takes to make.
plotly.io.templates.default = None


def as_json(figure: go.Figure) -> Response:
    """The answer to a page's script that asks for a figure."""
    return Response(figure.to_json(), media_type="application/json")


def rests_on(found: Sequence[Estimate], style: str) -> list[str]:
    """The interval and n of each estimate, in words; `style` is a number format that Python and D3 both know."""
    return [f"{interval_words(each, style)}; n = {each.n:,}" for each in found]


def interval_words(found: Estimate, style: str) -> str:
    """The interval in words."""
    if found.low is None or found.high is None:
        return "no interval"
    return f"95 % interval {found.low:{style}} to {found.high:{style}}"


def by_layer(figure: go.Figure, **layout: object) -> go.Figure:
    """The figure with layers on its horizontal axis, and the given properties of Plotly's layout."""
    longest = max((len(trace.x) for trace in figure.data), default=0)
    figure.update_xaxes(title="layer", tick0=0, dtick=1 if longest <= FEW_LAYERS else 4)
    figure.update_layout(hovermode="closest", **layout)
    return figure


def curves_by_layer(figure: go.Figure) -> go.Figure:
    """The figure with layers on its horizontal axis, and a legend if it has several curves."""
    return by_layer(figure, showlegend=len(figure.data) > 1)


def in_per_cent(figure: go.Figure) -> go.Figure:
    """The figure with shares from 0 to 1 on its vertical axis."""
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return figure


def curve(
    name: str, found: Mapping[int, Estimate], style: str, chance: bool = False, where: str = "layer %{x}"
) -> go.Scatter:
    """Estimates with their intervals as a curve, dotted if they are what chance gives.

    Args:
        name: title of the curve.
        found: the estimates by their place on the horizontal axis.
        style: format of a value, known to Python and D3.
        chance: whether they are a control.
        where: what the hover text calls a place.
    """
    places, estimates = list(found), list(found.values())
    return go.Scatter(
        x=places,
        y=[each.value for each in estimates],
        error_y=interval_bars(estimates),
        customdata=places,
        name=name,
        mode="lines" if chance else "lines+markers",
        line={"dash": "dot"} if chance else {},
        hovertext=rests_on(estimates, style),
        hovertemplate=f"{name}<br>{where}: %{{y:{style}}}<br>%{{hovertext}}<extra></extra>",
    )


def curves(
    titles: Mapping[str, Key],
    found: Mapping[Key, Mapping[int, Estimate]],
    style: str,
    chance: Callable[[Key], object] = lambda _: False,
    where: str = "layer %{x}",
) -> list[go.Scatter]:
    """One curve for each title whose measure was found; `chance` tells which measures are controls."""
    return [
        curve(title, found[key], style, chance=bool(chance(key)), where=where)
        for title, key in titles.items()
        if key in found
    ]


def bars(name: str, found: Mapping[int, Estimate], style: str, hover: str) -> go.Bar:
    """Estimates with their intervals as bars; `hover` is what the hover text says before interval and n."""
    places, estimates = list(found), list(found.values())
    return go.Bar(
        x=places,
        y=[each.value for each in estimates],
        customdata=places,
        name=name,
        error_y=interval_bars(estimates),
        hovertext=rests_on(estimates, style),
        hovertemplate=f"{hover}<br>%{{hovertext}}<extra></extra>",
    )


def interval_bars(found: Sequence[Estimate]) -> dict[str, object] | None:
    """Plotly's error bars, with no bar towards an end that is unknown; None if no estimate has an interval."""
    if all(each.low is None and each.high is None for each in found):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if each.high is None else each.high - each.value for each in found],
        "arrayminus": [0 if each.low is None else each.value - each.low for each in found],
        "thickness": 1,
        "width": 3,
    }
