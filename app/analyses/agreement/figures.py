"""Plotly figures of layer agreement: data and axes only, because colours and fonts belong to the page."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import plotly.graph_objects as go

from keyscope.app.queries.agreement import ByLayer, ContextEstimates, PartEstimate
from keyscope.app.web.drawing import bars, curve, curves, curves_by_layer, in_per_cent, interval_bars

STYLE = ".2%"
Found = Mapping[tuple[str, str], ByLayer]
"""Measures by name and control."""
Titles = Mapping[str, tuple[str, str]]
AGREEMENT: Titles = {
    "residual after the layer": ("residual", ""),
    "feed-forward output alone": ("ff", ""),
    "strongest value alone": ("value", ""),
    "chance: residual, elsewhere": ("residual", "other_position"),
    "chance: values dealt anew": ("value", "permuted_values"),
}
SPLIT: Titles = {
    "residual": ("split_residual", ""),
    "agreement": ("split_agreement", ""),
    "feed-forward": ("split_ffn", ""),
    "composition": ("split_composition", ""),
}
EVENTS: Titles = {
    "the model's token comes to the top": ("gained", ""),
    "the model's token leaves the top": ("lost", ""),
    "whichever token was on top leaves it": ("eliminated", ""),
}
KEYS: Titles = {
    "no firing key's value predicts what the layer predicts": ("zero_agreement", ""),
    "keys that fire": ("active", ""),
}
KEY_VALUES: Titles = {
    "keys": ("agreement", ""),
    "chance: values dealt anew": ("agreement", "permuted_values"),
}
ROLES = ("keyword", "operator", "identifier_defined", "identifier_used", "string", "whitespace")
"""Roles whose agreement is drawn by layer."""


def shares(found: Found, titles: Titles) -> go.Figure:
    """Shares of tokens by layer, controls dotted."""
    return in_per_cent(curves_by_layer(go.Figure(curves(titles, found, STYLE, chance=itemgetter(1)))))


def lenses(found: Mapping[tuple[str, str, str], ByLayer]) -> go.Figure:
    """Agreement by layer through each lens, the control dotted."""
    titles: Titles = {
        "ridge lens": ("ridge", ""),
        "logit lens": ("logit", ""),
        "chance: ridge lens on shuffled targets": ("ridge", "shuffled_targets"),
    }
    return shares({key[:2]: by_layer for key, by_layer in found.items() if key[2] == "agreement"}, titles)


def divergences(found: Mapping[tuple[str, str, str], ByLayer]) -> go.Figure:
    """KL divergence by layer through each lens."""
    titles = {"ridge lens": ("ridge", "", "kl"), "logit lens": ("logit", "", "kl")}
    figure = curves_by_layer(go.Figure(curves(titles, found, ".2f")))
    figure.update_yaxes(title_text="nats")
    return figure


def four_ways(found: Found) -> go.Figure:
    """What decides each layer's top token."""
    stacked = [bars(title, found[key], ".1%", f"layer %{{x}}<br>{title} %{{y:.1%}}") for title, key in SPLIT.items()]
    figure = in_per_cent(curves_by_layer(go.Figure(stacked)))
    figure.update_layout(barmode="stack", bargap=0.25)
    return figure


def depths(found: Found) -> go.Figure:
    """The share of tokens settled at each layer."""
    settled = bars("", found["settled", ""], ".1%", "%{y:.1%} of tokens are settled<br>from layer %{x} on")
    figure = in_per_cent(curves_by_layer(go.Figure(settled)))
    figure.update_layout(bargap=0.25)
    return figure


def roles(found: Sequence[PartEstimate], titles: Mapping[str, str]) -> go.Figure:
    """Prediction depth by the role of the token that follows, the earliest on top."""
    estimates = [each.estimate for each in found]
    figure = go.Figure(
        go.Scatter(
            x=[each.value for each in estimates],
            y=[titles[each.part] for each in found],
            error_x=interval_bars(estimates),
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
    return in_per_cent(curves_by_layer(go.Figure(curves({titles[role]: role for role in ROLES}, found, STYLE))))


def contexts(found: Sequence[ContextEstimates], measure: str) -> go.Figure:
    """Agreement of the residual by layer, one curve for each size of context."""
    lines = [curve(f"{each.size} tokens", each.layers[measure], STYLE) for each in found]
    return in_per_cent(curves_by_layer(go.Figure(lines)))


def by_size(found: Sequence[ContextEstimates], measures: Mapping[str, str], axis: str | None = None) -> go.Figure:
    """Measures by size of context, given by the titles of their curves."""
    sizes = [each.size for each in found]
    lines = [
        curve(title, {each.size: each.whole[measure] for each in found}, ".3g", where="%{x} tokens")
        for title, measure in measures.items()
    ]
    figure = go.Figure(lines)
    figure.update_xaxes(type="log", title="tokens of context", tickvals=sizes, ticktext=[str(size) for size in sizes])
    figure.update_yaxes(title=axis)
    return figure


def keys_by_layer(found: Found) -> go.Figure:
    """Key-value agreement by layer."""
    figure = curves_by_layer(go.Figure(curves(KEY_VALUES, found, STYLE, chance=itemgetter(1))))
    figure.update_yaxes(rangemode="tozero", tickformat=".1%")
    return figure


def keys_by_tenth(found: Found) -> go.Figure:
    """Key-value agreement by tenth of the keys, those with the least sure values first."""
    figure = go.Figure(curves(KEY_VALUES, found, STYLE, chance=itemgetter(1), where="tenth %{x}"))
    figure.update_xaxes(title="tenth of the keys by the value's largest probability", dtick=1)
    figure.update_yaxes(rangemode="tozero", tickformat=".1%")
    return figure
