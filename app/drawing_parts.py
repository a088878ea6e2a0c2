"""What figures by layer have in common: the axis of layers and the bars of an interval."""

from collections.abc import Sequence

import plotly.graph_objects as go

FEW_LAYERS = 16
"""Up to so many layers each has its number on the axis."""


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
