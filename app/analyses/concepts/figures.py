"""Plotly figures of concepts: data and axes only, because colours and fonts belong to the page."""

from collections.abc import Sequence

import plotly.graph_objects as go

from keyscope.app.queries.concepts import ConceptLayer
from keyscope.app.web.drawing import by_layer, curve, interval_bars

Layers = Sequence[ConceptLayer]


def any_hit_by_layer(layers: Layers) -> go.Figure:
    """Keys of each layer with any hit, and by chance."""
    numbers = [layer.layer for layer in layers]
    expected = [layer.expected for layer in layers]
    chance = go.Scatter(
        x=numbers,
        y=[each.value for each in expected],
        error_y=interval_bars(expected),
        name="by chance",
        mode="lines+markers",
        line={"dash": "dot"},
        hovertemplate="layer %{x}<br>%{y:.1f} keys by chance<extra></extra>",
    )
    return _keys_by_layer([_bars(numbers, [layer.any_hit for layer in layers], "any hit"), chance])


def detectors_by_layer(layers: Layers, control: Layers) -> go.Figure:
    """Keys of each layer that detect the concept by two rules, and a shuffled copy by the first rule."""
    numbers = [layer.layer for layer in layers]
    return _keys_by_layer(
        [
            _bars(numbers, [layer.significant for layer in layers], "significant"),
            _bars(numbers, [layer.auroc[80] for layer in layers], "AUROC over 0.8"),
            _bars(numbers, [layer.significant for layer in control], "shuffled"),
        ]
    )


def hits_by_layer(layers: Layers) -> go.Figure:
    """Share of triggers with a match near, and by chance."""
    both = [layer for layer in layers if layer.hit_share and layer.chance_share]
    found = {layer.layer: layer.hit_share for layer in both if layer.hit_share}
    chance = {layer.layer: layer.chance_share for layer in both if layer.chance_share}
    figure = go.Figure([curve("the concept", found, ".1%"), curve("by chance", chance, ".1%", chance=True)])
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


def _keys_by_layer(traces: list[go.Bar | go.Scatter]) -> go.Figure:
    figure = go.Figure(traces)
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="keys", rangemode="tozero")
    return by_layer(figure, showlegend=True, bargap=0.25)
