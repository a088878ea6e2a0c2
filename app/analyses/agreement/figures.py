"""The Plotly figures of layer agreement: data and axes only, for colours and fonts are the page's."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from keyscope.app.queries.agreement import ByLayer, ContextEstimates, KeyEstimates, PartEstimate
from keyscope.app.web.drawing import curve, curves_by_layer, number_bars, rests_on

STYLE = ".2%"
Layers = Mapping[tuple[str, str], ByLayer]
"""Measures by name and control."""
CURVES = (
    ("residual", "", "residual after the layer"),
    ("ff", "", "feed-forward output alone"),
    ("value", "", "strongest value alone"),
    ("residual", "other_position", "chance: residual, elsewhere"),
    ("value", "permuted_values", "chance: values dealt anew"),
)
SPLIT = {
    "split_residual": "residual",
    "split_agreement": "agreement",
    "split_ffn": "feed-forward",
    "split_composition": "composition",
}
EVENTS = {
    "gained": "the model's token comes to the top",
    "lost": "the model's token leaves the top",
    "eliminated": "whichever token was on top leaves it",
}
ROLES = ("keyword", "operator", "identifier_defined", "identifier_used", "string", "whitespace")
"""Roles whose agreement is drawn by layer."""


def by_layer(found: Layers) -> go.Figure:
    """Agreement of the residual, the feed-forward output and the strongest value, with what chance gives."""
    lines = [
        curve(title, found[measure, control], STYLE, chance=bool(control))
        for measure, control, title in CURVES
        if (measure, control) in found
    ]
    return _shares(curves_by_layer(go.Figure(lines)))


def four_ways(found: Layers) -> go.Figure:
    """Who decides each layer's top token."""
    bars = [
        go.Bar(
            x=list(found[measure, ""]),
            y=[each.value for each in found[measure, ""].values()],
            customdata=list(found[measure, ""]),
            name=title,
            error_y=number_bars(list(found[measure, ""].values())),
            hovertext=rests_on(list(found[measure, ""].values()), ".1%"),
            hovertemplate=f"layer %{{x}}<br>{title} %{{y:.1%}}<br>%{{hovertext}}<extra></extra>",
        )
        for measure, title in SPLIT.items()
    ]
    figure = _shares(curves_by_layer(go.Figure(bars)))
    figure.update_layout(barmode="stack", bargap=0.25)
    return figure


def depths(found: Layers) -> go.Figure:
    """The share of tokens settled at each layer."""
    settled = found["settled", ""]
    bar = go.Bar(
        x=list(settled),
        y=[each.value for each in settled.values()],
        error_y=number_bars(list(settled.values())),
        customdata=list(settled),
        hovertext=rests_on(list(settled.values()), ".1%"),
        hovertemplate="%{y:.1%} of tokens are settled<br>from layer %{x} on<br>%{hovertext}<extra></extra>",
    )
    figure = _shares(curves_by_layer(go.Figure(bar)))
    figure.update_layout(bargap=0.25)
    return figure


def events(found: Layers) -> go.Figure:
    """What changes on top from one layer to the next."""
    return _shares(curves_by_layer(go.Figure([curve(title, found[name, ""], STYLE) for name, title in EVENTS.items()])))


def neurons(found: Layers) -> go.Figure:
    """How often no key alone says what its layer says, and how many keys fire."""
    lines = [
        curve("no firing key's value says what the layer says", found["zero_agreement", ""], STYLE),
        curve("keys that fire", found["active", ""], STYLE),
    ]
    return _shares(curves_by_layer(go.Figure(lines)))


def roles(found: Sequence[PartEstimate], titles: Mapping[str, str]) -> go.Figure:
    """Prediction depth by the role of the token that really follows, the earliest on top."""
    names = [titles[each.part] for each in found]
    estimates = [each.estimate for each in found]
    figure = go.Figure(
        go.Scatter(
            x=[each.value for each in estimates],
            y=names,
            error_x=number_bars(estimates),
            text=[f"{each.n:,} tokens in {each.files:,} files" for each in estimates],
            mode="markers",
            marker={"size": 9},
            hovertemplate="%{y}<br>depth %{x:.2f}<br>%{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title="prediction depth, in layers", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", dtick=1)
    return figure


def role_layers(found: Mapping[str, ByLayer], titles: Mapping[str, str]) -> go.Figure:
    """Agreement of the residual by layer for some roles."""
    return _shares(
        curves_by_layer(go.Figure([curve(titles[role], found[role], STYLE) for role in ROLES if role in found]))
    )


def contexts(found: Sequence[ContextEstimates], measure: str) -> go.Figure:
    """Agreement of the residual by layer, one curve a size of context."""
    lines = [curve(f"{each.size} tokens", each.layers[measure], STYLE) for each in found]
    return _shares(curves_by_layer(go.Figure(lines)))


def context_depths(found: Sequence[ContextEstimates]) -> go.Figure:
    """Prediction depth by size of context."""
    figure = _sizes(found, {"depth": "prediction depth"})
    figure.update_yaxes(title="layers")
    return figure


def context_shares(found: Sequence[ContextEstimates]) -> go.Figure:
    """How often the prediction is that of the longest context, and how often it is right, by size of context."""
    return _shares(_sizes(found, {"same_as_full": "says what it says with the longest", "correct": "is right"}))


def context_frequency(found: Sequence[ContextEstimates]) -> go.Figure:
    """How common the tokens are that the model says, by size of context."""
    figure = _sizes(found, {"log_frequency": "mean log frequency"})
    figure.update_yaxes(title="ln of the share in the corpus")
    return figure


def keys_by_layer(found: KeyEstimates) -> go.Figure:
    """Key-value agreement by layer, with values dealt to other keys."""
    figure = _shares(curves_by_layer(go.Figure(_keys(found.layers, "layer %{x}"))))
    figure.update_yaxes(range=None, rangemode="tozero", tickformat=".1%")
    return figure


def keys_by_tenth(found: KeyEstimates) -> go.Figure:
    """Key-value agreement by tenth of the keys, from the least sure values to the surest."""
    figure = go.Figure(_keys(found.tenths, "tenth %{x}"))
    figure.update_xaxes(title="tenth of the keys by the value's largest probability", dtick=1)
    figure.update_yaxes(rangemode="tozero", tickformat=".1%")
    return figure


def _keys(found: Layers, where: str) -> list[go.Scatter]:
    titles = {"": "keys", "permuted_values": "chance: values dealt anew"}
    return [
        curve(title, found["agreement", control], STYLE, chance=bool(control), where=where)
        for control, title in titles.items()
        if ("agreement", control) in found
    ]


def _sizes(found: Sequence[ContextEstimates], measures: Mapping[str, str]) -> go.Figure:
    sizes = [each.size for each in found]
    lines = [
        curve(title, {each.size: each.whole[measure] for each in found}, ".3g", where="%{x} tokens")
        for measure, title in measures.items()
    ]
    figure = go.Figure(lines)
    figure.update_xaxes(type="log", title="tokens of context", tickvals=sizes, ticktext=[str(size) for size in sizes])
    return figure


def _shares(figure: go.Figure) -> go.Figure:
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return figure
