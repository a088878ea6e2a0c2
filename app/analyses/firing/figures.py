"""Plotly figures of when keys fire: data and axes only, because colours and fonts belong to the page."""

from collections.abc import Mapping
from operator import itemgetter

import plotly.graph_objects as go

from keyscope.app.queries.firing import ByLayer, Which
from keyscope.app.web.drawing import curves, curves_by_layer, interval_bars

STYLE = ".3g"
Found = Mapping[Which, ByLayer]
Titles = Mapping[str, Which]
"""Measure, control and part by the title of their curve."""
POSITIONS: Titles = {
    "when firing": ("positional", "", ""),
    "when firing strongly": ("positional_strong", "", ""),
    "chance: firing, positions shifted": ("positional", "shifted", ""),
    "chance: strongly, positions shifted": ("positional_strong", "shifted", ""),
}
LANGUAGES: Titles = {
    "specific to a language": ("language", "", ""),
    "tell a language": ("language_id", "", ""),
    "chance: files dealt anew": ("language_id", "drawn", ""),
}
DETECTORS: Titles = {
    "when firing": ("detectors", "", ""),
    "when firing strongly": ("detectors_strong", "", ""),
    "over half their largest": ("detectors_peak", "", ""),
}
SUPPRESSION: Titles = {
    "token detectors": ("suppressing_detectors", "", ""),
    "all keys": ("suppressing", "", ""),
    "chance: tokens of other keys": ("suppressing", "dealt", ""),
}
CLASSES: Titles = {
    "prediction": ("folded_prediction", "", ""),
    "suppression": ("folded_suppression", "", ""),
    "entropy": ("folded_entropy", "", ""),
    "chance: prediction, random values": ("folded_prediction", "gaussian", ""),
    "chance: suppression, random values": ("folded_suppression", "gaussian", ""),
    "chance: entropy, random values": ("folded_entropy", "gaussian", ""),
}
RAW_CLASSES: Titles = {f"{name}, raw": (name, "", "") for name in ("prediction", "suppression", "entropy")}
COSINES: Titles = {"key and value": ("cos_key_value", "", ""), "up row and value": ("cos_up_value", "", "")}


def shares(found: Found, titles: Titles) -> go.Figure:
    """Shares of keys by layer, controls dotted."""
    figure = numbers(found, titles)
    figure.update_yaxes(rangemode="tozero", tickformat=".1~%")
    return figure


def numbers(found: Found, titles: Titles) -> go.Figure:
    """Numbers by layer, controls dotted."""
    return curves_by_layer(go.Figure(curves(titles, found, STYLE, chance=itemgetter(1))))


def active(found: Found, languages: Mapping[str, str]) -> go.Figure:
    """Mean share of keys that fire, over all tokens and in each language."""
    parts = {"": "all tokens", **languages}
    return shares(found, {title: ("active", "", part) for part, title in parts.items()})


def best_f1(found: Found, languages: Mapping[str, str]) -> go.Figure:
    """Best F1 of a single key for each language, and the best by chance."""
    titles: Titles = {title: ("best_f1", "", part) for part, title in languages.items()}
    figure = numbers(found, {**titles, "chance: files dealt anew": ("best_f1", "drawn", "")})
    figure.update_yaxes(range=[0, 1.02])
    return figure


def tokens(found: Found) -> go.Figure:
    """How many tokens each layer's keys detect, split into new ones and those a lower layer detects too."""
    detected, new = found.get(("tokens", "", ""), {}), found.get(("new_tokens", "", ""), {})
    fresh = [each.value * new[layer].value if layer in new else 0 for layer, each in detected.items()]
    seen = [each.value - some for each, some in zip(detected.values(), fresh, strict=True)]
    stacked = [
        go.Bar(
            x=list(detected),
            y=heights,
            customdata=list(detected),
            name=title,
            error_y=errors,
            hovertemplate="%{y:,.0f}<extra></extra>",
        )
        # the upper part ends at the number of all tokens, so it carries their interval
        for title, heights, errors in (
            ("new", fresh, None),
            ("detected below too", seen, interval_bars(list(detected.values()))),
        )
    ]
    figure = curves_by_layer(go.Figure(stacked))
    figure.update_layout(barmode="stack", bargap=0.25)
    return figure
