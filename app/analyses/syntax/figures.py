"""Plotly figures of syntax: data and axes only, because colours and fonts belong to the page."""

from collections.abc import Mapping, Sequence
from math import log2

import plotly.graph_objects as go

from keyscope.app.queries.estimate import Controlled
from keyscope.app.queries.syntax import LayerMeasure, LayerValue
from keyscope.app.web.drawing import FEW_LAYERS, curve, curves, curves_by_layer, in_per_cent, rests_on

Layers = Mapping[str, Mapping[int, LayerMeasure]]
Values = Mapping[str, Mapping[int, LayerValue]]
LONGEST = 22
"""Characters of a node's name beside a figure."""
CONCENTRATION = {"one token": "token_share", "two tokens": "bigram_share", "three tokens": "trigram_share"}
LOCALITY = {
    "without the trigger token": "drop_last",
    "without the first token": "drop_first",
    "without a random token": "drop_random",
}
FAMILIES = {
    "keywords, operators, punctuation": "grammar",
    "names, calls, attributes, types": "names",
    "strings, numbers, comments": "text",
    "white space": "layout",
}


def score(found: Layers) -> go.Figure:
    """Mean score by layer, with quartiles as thin lines and what chance gives."""
    layers = found.get("score", {})
    numbers = list(layers)
    quartiles = [
        go.Scatter(
            x=numbers,
            y=[getattr(layers[layer], name) for layer in numbers],
            name=title,
            mode="lines",
            line={"dash": "dash", "width": 1},
            hovertemplate=f"{title}<br>layer %{{x}}: %{{y:.2f}}<extra></extra>",
        )
        for name, title in (("lower_quartile", "25th percentile"), ("upper_quartile", "75th percentile"))
    ]
    figure = go.Figure([curve("mean", layers, ".3f"), *quartiles, _chance("chance: random places", layers, ".3f")])
    figure.update_yaxes(range=[0, 1.02])
    return curves_by_layer(figure)


def concentration(found: Layers) -> go.Figure:
    """Shares of triggers on the commonest token, two tokens and three."""
    chance = [_chance("chance: one token", found["token_share"], ".1%")] if "token_share" in found else []
    return in_per_cent(curves_by_layer(go.Figure([*curves(CONCENTRATION, found, ".1%"), *chance])))


def entropy(found: Layers) -> go.Figure:
    """Entropy of trigger tokens, over the largest possible."""
    layers = found.get("entropy", {})
    figure = go.Figure([curve("trigger tokens", layers, ".3f"), _chance("chance: random places", layers, ".3f")])
    figure.update_yaxes(range=[0, 1.02])
    return curves_by_layer(figure)


def locality(found: Layers) -> go.Figure:
    """Relative change of the coefficient when a token is dropped."""
    figure = curves_by_layer(go.Figure(curves(LOCALITY, found, ".1%")))
    figure.update_yaxes(tickformat=".0%")
    return figure


def families(found: Layers) -> go.Figure:
    """Shares of keys with most of their triggers in one family of roles."""
    figure = curves_by_layer(go.Figure(curves(FAMILIES, found, ".1%")))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def family_chance(found: Layers) -> go.Figure:
    """Two families, each with the roles of other tokens beside it."""
    lines = []
    for name in ("grammar", "names"):
        if name in found:
            lines += [curve(name, found[name], ".1%"), _chance(f"chance: {name}", found[name], ".1%")]
    figure = curves_by_layer(go.Figure(lines))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def lifts(found: Values, order: Sequence[str], titles: Mapping[str, str]) -> go.Figure:
    """Heat map of how much commoner values are among triggers than in the corpus; colours go by doublings."""
    layers = sorted({layer for by_layer in found.values() for layer in by_layer})
    cells = [[found[value].get(layer) for layer in layers] for value in order]
    figure = go.Figure(
        go.Heatmap(
            x=layers,
            y=[titles.get(value) or _two_lines(value) for value in order],
            z=[[_doublings(cell) for cell in row] for row in cells],
            text=[[_lift(cell) for cell in row] for row in cells],
            texttemplate="%{text}",
            hovertext=[[_about(cell) for cell in row] for row in cells],
            hovertemplate="%{y}, layer %{x}<br>%{hovertext}<extra></extra>",
            zmin=-2,
            zmax=2,
            zmid=0,
            showscale=False,  # the bar needs inline styles, which the security policy forbids
            xgap=1,
            ygap=1,
        )
    )
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 10})
    figure.update_xaxes(title="layer", tick0=0, tickangle=0, dtick=1 if len(layers) <= FEW_LAYERS else 4)
    return figure


def _chance(name: str, found: Mapping[int, Controlled], style: str) -> go.Scatter:
    return go.Scatter(
        x=list(found),
        y=[each.control.value if each.control else None for each in found.values()],
        name=name,
        mode="lines",
        line={"dash": "dot"},
        hovertemplate=f"{name}<br>layer %{{x}}: %{{y:{style}}}<extra></extra>",
    )


def _two_lines(node: str) -> str:
    """A node above its parent, both cut if long, because there is little room beside a figure."""
    lines = [line if len(line) <= LONGEST else f"{line[:LONGEST]}…" for line in node.split(" in ")]
    return "<br>in ".join(lines)


def _doublings(cell: LayerValue | None) -> float | None:
    """Logarithm to base 2 of the lift, clipped to the scale."""
    if cell is None or cell.lift is None:
        return None
    return max(-2.0, min(2.0, log2(cell.lift))) if cell.lift > 0 else -2.0


def _lift(cell: LayerValue | None) -> str:
    return "" if cell is None or cell.lift is None else f"{cell.lift:.1f}"


def _about(cell: LayerValue | None) -> str:
    if cell is None:
        return ""
    return f"{cell.value:.1%} of triggers ({rests_on([cell], '.1%')[0]}), {cell.base:.1%} of tokens; {cell.keys:,} keys"
