"""What figures by layer have in common: the axis of layers, the bars of an interval, and what a point rests on."""

from collections.abc import Sequence
from typing import Protocol

import plotly.graph_objects as go

FEW_LAYERS = 16
"""Up to so many layers each has its number on the axis."""


class Number(Protocol):
    """What a point is drawn from."""

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
