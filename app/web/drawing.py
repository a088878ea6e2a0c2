"""What figures by layer have in common: the axis of layers, curves, the bars of an interval, and what a point rests on."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import plotly.graph_objects as go

FEW_LAYERS = 16
"""Up to so many layers each has its number on the axis."""


class Number(Protocol):
    """What a point is drawn from."""

    @property
    def value(self) -> float:
        """How high it lies."""

    @property
    def low(self) -> float | None:
        """Lower end of its interval."""

    @property
    def high(self) -> float | None:
        """Upper end of it."""

    @property
    def n(self) -> int:
        """How many it rests on."""


def rests_on(found: Sequence[Number], style: str) -> list[str]:
    """What is said of each point besides its value: its interval and n. `style` is a format as Python and D3 have it."""
    return [f"{interval_words(each.low, each.high, style)}; n = {each.n:,}" for each in found]


def interval_words(low: float | None, high: float | None, style: str) -> str:
    """An interval in words, where both of its ends are known."""
    return "no interval" if low is None or high is None else f"95 % interval {low:{style}} to {high:{style}}"


def by_layer(figure: go.Figure, **layout: object) -> go.Figure:
    """The figure with layers on its horizontal axis, and whatever else of the layout it wants."""
    longest = max((len(trace.x) for trace in figure.data), default=0)
    figure.update_xaxes(title="layer", tick0=0, dtick=1 if longest <= FEW_LAYERS else 4)
    figure.update_layout(hovermode="closest", **layout)
    return figure


def curves_by_layer(figure: go.Figure) -> go.Figure:
    """The same for curves, which are told apart by a legend where there are several."""
    return by_layer(figure, showlegend=len(figure.data) > 1)


def curve(
    name: str, found: Mapping[int, Number], style: str, chance: bool = False, where: str = "layer %{x}"
) -> go.Scatter:
    """Numbers by layer with their intervals, dotted where they are what chance gives.

    Args:
        name: of the curve.
        found: the numbers by what lies on the horizontal axis.
        style: format of a value, as Python and D3 have it.
        chance: whether they are a control.
        where: what a place on the horizontal axis is called.
    """
    places, numbers = list(found), list(found.values())
    return go.Scatter(
        x=places,
        y=[each.value for each in numbers],
        error_y=number_bars(numbers),
        customdata=places,
        name=name,
        mode="lines" if chance else "lines+markers",
        line={"dash": "dot"} if chance else {},
        hovertext=rests_on(numbers, style),
        hovertemplate=f"{name}<br>{where}: %{{y:{style}}}<br>%{{hovertext}}<extra></extra>",
    )


def number_bars(found: Sequence[Number]) -> dict[str, object] | None:
    """The bars of numbers with intervals; None where none has one."""
    if all(each.low is None and each.high is None for each in found):
        return None
    return interval_bars([each.value for each in found], [each.low for each in found], [each.high for each in found])


def interval_bars(
    values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]
) -> dict[str, object]:
    """Plotly's bars from the low to the high end of each value's interval; no bar towards an end that is not known."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None else high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [0 if low is None else value - low for value, low in zip(values, lows, strict=True)],
        "thickness": 1,
        "width": 3,
    }
