"""The Plotly figures of layer agreement: data and axes only, for colours and fonts are the page's."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.drawing_parts import curves_by_layer, interval_bars, rests_on
from app.queries.layer_agreement import ByLayer, ContextEstimates, Estimate, KeyEstimates, PartEstimate

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
        _line(title, found[measure, control], chance=bool(control))
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
            error_y=_errors(list(found[measure, ""].values())),
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
        error_y=_errors(list(settled.values())),
        customdata=list(settled),
        hovertext=rests_on(list(settled.values()), ".1%"),
        hovertemplate="%{y:.1%} of tokens are settled<br>from layer %{x} on<br>%{hovertext}<extra></extra>",
    )
    figure = _shares(curves_by_layer(go.Figure(bar)))
    figure.update_layout(bargap=0.25)
    return figure


def events(found: Layers) -> go.Figure:
    """What changes on top from one layer to the next."""
    return _shares(curves_by_layer(go.Figure([_line(title, found[name, ""]) for name, title in EVENTS.items()])))


def neurons(found: Layers) -> go.Figure:
    """How often no key alone says what its layer says, and how many keys fire."""
    lines = [
        _line("no firing key's value says what the layer says", found["zero_agreement", ""]),
        _line("keys that fire", found["active", ""]),
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
            error_x=_errors(estimates),
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
    return _shares(curves_by_layer(go.Figure([_line(titles[role], found[role]) for role in ROLES if role in found])))


def contexts(found: Sequence[ContextEstimates], measure: str) -> go.Figure:
    """Agreement of the residual by layer, one curve a size of context."""
    lines = [_line(f"{each.size} tokens", each.layers[measure]) for each in found]
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
    figure = _shares(curves_by_layer(go.Figure(_keys(found.layers))))
    figure.update_yaxes(range=None, rangemode="tozero", tickformat=".1%")
    return figure


def keys_by_tenth(found: KeyEstimates) -> go.Figure:
    """Key-value agreement by tenth of the keys, from the least sure values to the surest."""
    figure = go.Figure(_keys(found.tenths))
    figure.update_xaxes(title="tenth of the keys by the value's largest probability", dtick=1)
    figure.update_yaxes(rangemode="tozero", tickformat=".1%")
    return figure


def _keys(found: Layers) -> list[go.Scatter]:
    titles = {"": "keys", "permuted_values": "chance: values dealt anew"}
    return [
        _line(title, found["agreement", control], chance=bool(control))
        for control, title in titles.items()
        if ("agreement", control) in found
    ]


def _line(name: str, found: ByLayer, chance: bool = False) -> go.Scatter:
    numbers, estimates = list(found), list(found.values())
    return go.Scatter(
        x=numbers,
        y=[each.value for each in estimates],
        error_y=_errors(estimates),
        customdata=numbers,
        name=name,
        mode="lines" if chance else "lines+markers",
        line={"dash": "dot"} if chance else {},
        hovertext=rests_on(estimates, ".2%"),
        hovertemplate=f"{name}<br>%{{x}}: %{{y:.2%}}<br>%{{hovertext}}<extra></extra>",
    )


def _sizes(found: Sequence[ContextEstimates], measures: Mapping[str, str]) -> go.Figure:
    sizes = [each.size for each in found]
    lines = []
    for measure, title in measures.items():
        estimates = [each.whole[measure] for each in found]
        values = [each.value for each in estimates]
        line = go.Scatter(
            x=sizes,
            y=values,
            error_y=_errors(estimates),
            name=title,
            mode="lines+markers",
            hovertext=rests_on(estimates, ".3g"),
            hovertemplate=f"{title}<br>%{{x}} tokens: %{{y:.3g}}<br>%{{hovertext}}<extra></extra>",
        )
        lines.append(line)
    figure = go.Figure(lines)
    figure.update_xaxes(type="log", title="tokens of context", tickvals=sizes, ticktext=[str(size) for size in sizes])
    return figure


def _errors(found: Sequence[Estimate]) -> dict[str, object]:
    return interval_bars([each.value for each in found], [each.low for each in found], [each.high for each in found])


def _shares(figure: go.Figure) -> go.Figure:
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return figure
