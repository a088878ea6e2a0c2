"""The sections of the page of syntax with a measure of every layer: variety, locality, concentration, families."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from keyscope.app.analyses.syntax import figures
from keyscope.app.queries.estimate import Controlled, Estimate
from keyscope.app.queries.syntax import LayerMeasure
from keyscope.app.web import formats
from keyscope.app.web.sections import Block, Cell, Column, Figure, Format, counted, layer_table, measured
from keyscope.contract.analyses.syntax import LAYER_MEASURES

_TREND = "upper minus lower half"
_ON_VARIETY = (
    "How varied a key's triggers are, from 0, one token decides, to 1. It is the mean of three parts, each from 0 to 1: spread, the share "
    "of a key's strongest triggers that are not on its commonest token or two tokens; entropy, that of its trigger "
    "tokens over the largest possible; and locality, what remains of the coefficient without the trigger token. By "
    "chance: with random places as triggers, and a random token dropped instead of the last. Random places are the most "
    "varied of all: variety says nothing about meaning."
)
_ON_KEYS = (
    "Means are over the layer's keys. Intervals are the spread over draws of files, computed on at most as many keys of a "
    "layer as the setting drawn keys says."
)


class Measures(NamedTuple):
    """What was measured of every layer, and how it changes from the lower to the upper half of the layers."""

    layers: Mapping[str, Mapping[int, LayerMeasure]]
    trends: Mapping[str, Controlled]

    def with_trend(self, measure: str) -> dict[Any, Controlled]:
        """A measure by layer, and its trend in a row of its own."""
        trend = {_TREND: self.trends[measure]} if measure in self.trends else {}
        return {**self.layers[measure], **trend}


def score(found: Measures) -> Block:
    """The variety of triggers, and the entropy that is a part of it."""
    block_figures = [
        Figure("score", "Variety of the triggers of the layer's keys", lambda: figures.score(found.layers)),
        Figure(
            "entropy", "Entropy of trigger tokens, over the largest possible", lambda: figures.entropy(found.layers)
        ),
    ]
    measures = {"score": two, "entropy": two}
    return _by_layer("score", "Variety of triggers", _ON_VARIETY, block_figures, measures, found, spread="score")


def locality(found: Measures) -> Block:
    """What remains when a token of the context is dropped."""
    return _by_layer(
        "locality",
        "How local keys are",
        "The strongest triggers of every key are read again with one token of their context dropped, where the context is "
        "the window up to the trigger token. Shown is the mean change of the coefficient, relative to the coefficient. "
        "Without the trigger token, the key is read at the token before it. Coefficients below 0 count as 0.",
        [Figure("locality", "Relative change of the coefficient, by layer", lambda: figures.locality(found.layers))],
        dict.fromkeys(figures.LOCALITY.values(), percent),
        found,
    )


def concentration(found: Measures) -> Block:
    """How far triggers concentrate on one token or a few."""
    return _by_layer(
        "concentration",
        "Tokens and n-grams",
        "The share of a key's strongest triggers that end in its commonest token, two tokens or three. By chance: random "
        "places in the same languages.",
        [Figure("concentration", "Share on the commonest, by layer", lambda: figures.concentration(found.layers))],
        dict.fromkeys(figures.CONCENTRATION.values(), formats.share),
        found,
    )


def families(found: Measures) -> Block:
    """Keys by the family of their roles."""
    return _by_layer(
        "families",
        "Grammar, names, text and layout",
        "The share of keys with at least half their triggers in one family of roles: what the language defines, what "
        "people and libraries name, text that is not code, and white space. By chance: each trigger token takes the "
        "roles of another token about as common, the same one for equal tokens, so token detectors remain token "
        "detectors.",
        [
            Figure("families", "Share of keys, by layer", lambda: figures.families(found.layers)),
            Figure("family_chance", "Against the roles of other tokens", lambda: figures.family_chance(found.layers)),
        ],
        dict.fromkeys(figures.FAMILIES.values(), formats.share),
        found,
    )


def _by_layer(
    name: str,
    title: str,
    text: str,
    drawn: list[Figure],
    measures: Mapping[str, Format],
    found: Measures,
    spread: str | None = None,
) -> Block:
    there = {measure: show for measure, show in measures.items() if measure in found.layers}
    trend = all(measure in found.trends for measure in there)
    by_place: dict[str, Mapping[Any, Controlled]] = {
        measure: found.with_trend(measure) if trend else found.layers[measure] for measure in there
    }
    several = _several_n(found.layers[measure] for measure in there)
    columns: list[Column] = []
    for measure, show in there.items():
        columns += _columns(measure, by_place[measure], show)
        if several:
            columns.append(counted("keys", "Keys it was measured on", by_place[measure]))
    if spread in there:
        columns.append(_spread(found.layers[spread], there[spread]))
    if there and not several:
        columns.append(counted("keys", "Keys it was all measured on", next(iter(by_place.values()))))
    return layer_table(name, title, f"{text} {_ON_KEYS}", columns, drawn, "syntax_layers")


def _columns(measure: str, found: Mapping[Any, Controlled], show: Format) -> list[Column]:
    """A measure with its interval and, if it has one, its control with the range of the draws."""
    columns = [_signed(_title(measure), LAYER_MEASURES[measure], found, show)]
    if chance := {place: each.control for place, each in found.items() if each.control}:
        about = f"{LAYER_MEASURES[measure]}, by chance; with the range of the draws"
        columns.append(_signed("by chance", about, chance, show))
    return columns


def _signed(title: str, about: str, found: Mapping[Any, Estimate], show: Format) -> Column:
    """A column of numbers; a trend is a difference, so it has a sign."""
    layers = measured(title, about, {place: each for place, each in found.items() if place != _TREND}, show)
    trend = measured(title, about, {place: each for place, each in found.items() if place == _TREND}, with_sign(show))
    return Column(title, about, {**layers.cells, **trend.cells})


def _spread(found: Mapping[int, LayerMeasure], show: Format) -> Column:
    cells = {
        layer: Cell(f"{show(each.lower_quartile)} to {show(each.upper_quartile)}")
        for layer, each in found.items()
        if each.lower_quartile is not None and each.upper_quartile is not None
    }
    return Column("half of the keys", "From the 25th to the 75th percentile", cells)


def _several_n(found: Iterable[Mapping[int, Estimate]]) -> bool:
    """Whether the measures rest on different numbers of keys."""
    counts = [{layer: each.n for layer, each in by_layer.items()} for by_layer in found]
    return any(each != counts[0] for each in counts)


def _title(measure: str) -> str:
    named = figures.CONCENTRATION | figures.LOCALITY | figures.FAMILIES
    return next((title for title, name in named.items() if name == measure), measure)


def two(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """A relative change in per cent."""
    return f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def with_sign(show: Format) -> Format:
    """The format with a plus before positive numbers."""
    return lambda value: f"{'+' if value > 0 else ''}{two(value) if show is two else percent(value)}"
