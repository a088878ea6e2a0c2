"""The Plotly figures of when keys fire: data and axes only, for colours and fonts are the page's."""

from collections.abc import Mapping

import plotly.graph_objects as go

from keyscope.app.queries.firing import ByLayer, Which
from keyscope.app.web.drawing import curve, curves_by_layer, number_bars

STYLE = ".3g"
Found = Mapping[Which, ByLayer]
Curves = Mapping[str, tuple[str, str]]
"""Measure and control by the title of a curve."""
POSITIONS: Curves = {
    "when firing": ("positional", ""),
    "when firing strongly": ("positional_strong", ""),
    "chance: firing, positions shifted": ("positional", "shifted"),
    "chance: strongly, positions shifted": ("positional_strong", "shifted"),
}
LANGUAGES: Curves = {
    "specific to a language": ("language", ""),
    "tell a language": ("language_id", ""),
    "chance: files dealt anew": ("language_id", "drawn"),
}
DETECTORS: Curves = {
    "when firing": ("detectors", ""),
    "when firing strongly": ("detectors_strong", ""),
    "over half their largest": ("detectors_peak", ""),
}
SUPPRESSION: Curves = {
    "token detectors": ("suppressing_detectors", ""),
    "all keys": ("suppressing", ""),
    "chance: tokens of other keys": ("suppressing", "dealt"),
}
CLASSES: Curves = {
    "prediction": ("prediction", ""),
    "suppression": ("suppression", ""),
    "entropy": ("entropy", ""),
    "chance: prediction, random values": ("prediction", "gaussian"),
    "chance: suppression, random values": ("suppression", "gaussian"),
    "chance: entropy, random values": ("entropy", "gaussian"),
}
COSINES: Curves = {"key and value": ("cos_key_value", ""), "up row and value": ("cos_up_value", "")}


def active(found: Found, languages: Mapping[str, str]) -> go.Figure:
    """The mean share of keys that fire, over all tokens and in each language."""
    parts = {"": "all tokens", **languages}
    curves = [
        curve(title, found["active", "", part], STYLE) for part, title in parts.items() if ("active", "", part) in found
    ]
    return _shares(curves_by_layer(go.Figure(curves)))


def shares(found: Found, curves: Curves) -> go.Figure:
    """Shares of keys by layer, with what chance gives."""
    return _shares(numbers(found, curves))


def numbers(found: Found, curves: Curves) -> go.Figure:
    """Numbers by layer, with what chance gives."""
    lines = [
        curve(title, found[measure, control, ""], STYLE, chance=bool(control))
        for title, (measure, control) in curves.items()
        if (measure, control, "") in found
    ]
    return curves_by_layer(go.Figure(lines))


def best_f1(found: Found, languages: Mapping[str, str]) -> go.Figure:
    """The best F1 of a single key for each language, and the best that chance gives."""
    curves = [
        curve(title, found["best_f1", "", part], STYLE)
        for part, title in languages.items()
        if ("best_f1", "", part) in found
    ]
    if ("best_f1", "drawn", "") in found:
        curves.append(curve("chance: files dealt anew", found["best_f1", "drawn", ""], STYLE, chance=True))
    figure = curves_by_layer(go.Figure(curves))
    figure.update_yaxes(range=[0, 1.02])
    return figure


def tokens(found: Found) -> go.Figure:
    """Tokens that each layer's keys detect, those that no layer below detects apart."""
    detected, new = found.get(("tokens", "", ""), {}), found.get(("new_tokens", "", ""), {})
    fresh = [each.value * new[layer].value if layer in new else 0 for layer, each in detected.items()]
    seen = [each.value - some for each, some in zip(detected.values(), fresh, strict=True)]
    bars = [
        go.Bar(
            x=list(detected),
            y=heights,
            customdata=list(detected),
            name=title,
            error_y=errors,
            hovertemplate="%{y:,.0f}<extra></extra>",
        )
        # the upper part of a bar ends where all tokens do, so it bears their interval
        for title, heights, errors in (
            ("new", fresh, None),
            ("detected below too", seen, number_bars(list(detected.values()))),
        )
    ]
    figure = curves_by_layer(go.Figure(bars))
    figure.update_layout(barmode="stack", bargap=0.25)
    return figure


def _shares(figure: go.Figure) -> go.Figure:
    figure.update_yaxes(rangemode="tozero", tickformat=".1~%")
    return figure
