"""The Plotly figures of concepts: data and axes only, for colours and fonts are the page's."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from keyscope.app.queries.concepts import ConceptLayer
from keyscope.app.web.drawing import by_layer, curve, interval_bars

Layers = Sequence[ConceptLayer]


class _Point(NamedTuple):
    """A share of a layer's triggers."""

    value: float
    low: float | None
    high: float | None
    n: int


def any_hit_by_layer(layers: Layers) -> go.Figure:
    """Keys of each layer with any hit, and what chance gives."""
    numbers = [layer.layer for layer in layers]
    chance = go.Scatter(
        x=numbers,
        y=[layer.expected for layer in layers],
        error_y=interval_bars(
            [layer.expected for layer in layers],
            [layer.expected_low for layer in layers],
            [layer.expected_high for layer in layers],
        ),
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
    found, chance = dict[int, _Point](), dict[int, _Point]()
    for each in layers:
        if each.hit_share is not None and each.chance_share is not None:
            found[each.layer] = _Point(each.hit_share, each.hit_share_low, each.hit_share_high, each.triggers)
            ends = each.chance_share_low, each.chance_share_high
            chance[each.layer] = _Point(each.chance_share, *ends, each.triggers)
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
