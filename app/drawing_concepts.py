"""The Plotly figures of concepts: data and axes only, for colours and fonts are the page's."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.drawing_parts import by_layer
from app.queries.concepts import ConceptLayer

Layers = Sequence[ConceptLayer]
Point = tuple[int, float | None, float | None, float | None]
"""A layer, a share and the ends of its interval."""


def any_hit_by_layer(layers: Layers) -> go.Figure:
    """Keys of each layer with any hit, and what chance gives."""
    numbers = [layer.layer for layer in layers]
    chance = go.Scatter(
        x=numbers,
        y=[layer.expected for layer in layers],
        error_y={
            "type": "data",
            "array": [layer.expected_high - layer.expected for layer in layers],
            "arrayminus": [layer.expected - layer.expected_low for layer in layers],
        },
        name="by chance",
        mode="lines+markers",
        line={"dash": "dot"},
        hovertemplate="layer %{x}<br>%{y:.1f} keys by chance<extra></extra>",
    )
    return _keys_by_layer([_bars(numbers, [layer.any_hit for layer in layers], "any hit"), chance])


def detectors_by_layer(layers: Layers, control: Layers) -> go.Figure:
    """Keys of each layer that detect the concept by two rules, and a shuffled copy by the first of them."""
    numbers = [layer.layer for layer in layers]
    return _keys_by_layer(
        [
            _bars(numbers, [layer.significant for layer in layers], "significant"),
            _bars(numbers, [layer.auroc[80] for layer in layers], "AUROC over 0.8"),
            _bars(numbers, [layer.significant for layer in control], "significant, shuffled"),
        ]
    )


def hits_by_layer(layers: Layers) -> go.Figure:
    """The share of triggers with a match near, and the share that chance gives, with intervals."""
    found = [(each.layer, each.hit_share, each.hit_share_low, each.hit_share_high) for each in layers]
    chance = [(each.layer, each.chance_share, each.chance_share_low, each.chance_share_high) for each in layers]
    figure = go.Figure([_shares(found, "the concept", "solid"), _shares(chance, "by chance", "dot")])
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title="triggers with a match near")
    return by_layer(figure, showlegend=True, bargap=0.25)


def _bars(numbers: list[int], counts: list[int], name: str) -> go.Bar:
    return go.Bar(
        x=numbers,
        y=counts,
        customdata=numbers,
        name=name,
        hovertemplate=f"layer %{{x}}<br>%{{y}} keys: {name}<extra></extra>",
    )


def _shares(points: Sequence[Point], name: str, dash: str) -> go.Scatter:
    known = [(layer, share, low or 0.0, high or 0.0) for layer, share, low, high in points if share is not None]
    return go.Scatter(
        x=[layer for layer, *_ in known],
        y=[share for _, share, *_ in known],
        error_y={
            "type": "data",
            "array": [high - share for _, share, _, high in known],
            "arrayminus": [share - low for _, share, low, _ in known],
        },
        name=name,
        mode="lines+markers",
        line={"dash": dash},
        hovertemplate=f"layer %{{x}}<br>%{{y:.1%}} of triggers: {name}<extra></extra>",
    )


def _keys_by_layer(traces: list[go.Bar | go.Scatter]) -> go.Figure:
    figure = go.Figure(traces)
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="keys", rangemode="tozero")
    return by_layer(figure, showlegend=True, bargap=0.25)
