"""The sections of the page of syntax that have a measure of every layer: score, locality, concentration, families."""

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from keyscope.app.analyses.syntax import figures as drawing
from keyscope.app.analyses.syntax.cells import pair, percent, spread_of, two, with_sign
from keyscope.app.analyses.syntax.links import SyntaxLinks
from keyscope.app.queries.syntax import Measure, layer_measures, trends
from keyscope.app.web import formats
from keyscope.app.web.sections import EMPTY, Block, Cell, Column, Format, Row
from keyscope.contract.analyses.syntax import LAYER_MEASURES

_TREND = "upper half less lower"
_ON_SCORE = (
    "From 0, shallow, to 1, semantic: the mean of three parts, each from 0 to 1. Spread is the share of a key's strongest "
    "triggers that are not on its commonest token and two tokens, entropy is that of its trigger tokens over the largest "
    "it could be, and locality what is left of the coefficient without the trigger token. By chance: random places for "
    "the triggers, and a random token dropped instead of the last. A key that fires everywhere is far from shallow too."
)

_ON_KEYS = (
    "Means are over the layer's keys; intervals are the spread over draws of files, taken over as many keys of a layer at most as "
    "the setting drawn keys says."
)


class LayerBlocks:
    """Sections of one run."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, links: SyntaxLinks) -> None:
        self._links = links
        self._found, self._trends = layer_measures(cursor), trends(cursor)

    def score(self) -> Block:
        """The score, and the entropy that is part of it."""
        return self._by_layer(
            "score",
            "From shallow to semantic",
            _ON_SCORE,
            [
                ("score", "Score of the layer's keys"),
                ("entropy", "Entropy of trigger tokens, over the largest possible"),
            ],
            {"score": two, "entropy": two},
            spread="score",
        )

    def locality(self) -> Block:
        """What is left without a token of the context."""
        return self._by_layer(
            "locality",
            "How local keys are",
            "The strongest triggers of every key are read again with one token of their context dropped, the context being "
            "the window up to the trigger token: the mean change of the coefficient over the coefficient. Without the "
            "trigger token the key is read at the token before it. A coefficient below 0 counts as 0.",
            [("locality", "Relative change of the coefficient, by layer")],
            dict.fromkeys(drawing.LOCALITY, percent),
        )

    def concentration(self) -> Block:
        """How far triggers crowd on one token or few."""
        return self._by_layer(
            "concentration",
            "Tokens and n-grams",
            "The share of a key's strongest triggers that end in its commonest token, two tokens or three. By chance: random "
            "places of the same languages.",
            [("concentration", "Share on the commonest, by layer")],
            dict.fromkeys(drawing.CONCENTRATION, formats.share),
        )

    def families(self) -> Block:
        """Keys by the family of their roles."""
        return self._by_layer(
            "families",
            "Grammar, names, text and layout",
            "The share of keys with half their triggers or more in one family of roles: what the language defines, what people "
            "and libraries name, what is no code, white space. By chance: each trigger token has the roles of another token "
            "about as common, the same one for equal tokens, so that token detectors stay token detectors.",
            [("families", "Share of keys, by layer"), ("family_chance", "Against the roles of other tokens")],
            dict.fromkeys(drawing.FAMILIES, formats.share),
        )

    def _by_layer(
        self,
        name: str,
        title: str,
        text: str,
        figures: Sequence[tuple[str, str]],
        measures: Mapping[str, Format],
        spread: str | None = None,
    ) -> Block:
        there = {measure: show for measure, show in measures.items() if measure in self._found}
        several = self._several_n(there)
        head = [Column("layer", "")]
        for measure in there:
            head.append(Column(_title(measure), LAYER_MEASURES[measure]))
            if self._has_control(measure):
                head.append(Column("by chance", f"{LAYER_MEASURES[measure]}, by chance; the range of its draws"))
            if several:
                head.append(Column("keys", "Keys that it was measured of"))
        if spread:
            head.append(Column("half of the keys", "From the lower quartile to the upper"))
        layers = sorted({layer for measure in there for layer in self._found[measure]})
        rows = [
            Row(f"layer {layer}", self._cells(there, self._of_layer(layer), several, spread), self._links.layer(layer))
            for layer in layers
        ]
        if all(measure in self._trends for measure in there):
            signed = {measure: with_sign(show) for measure, show in there.items()}
            rows.append(Row(_TREND, self._cells(signed, self._trends, several, spread)))
        if not several:
            head.append(Column("keys", "Keys that all of it was measured of"))
        return Block(
            name,
            title,
            f"{text} {_ON_KEYS}",
            [self._links.figure(figure, caption) for figure, caption in figures],
            f"{title}, by layer",
            head,
            rows,
            self._links.exports("syntax_layers"),
        )

    def _cells(
        self, measures: Mapping[str, Format], found: Mapping[str, Measure], several: bool, spread: str | None
    ) -> list[Cell]:
        """The measures of a layer or of the trend; n of each, or of all at the end."""
        cells: list[Cell] = []
        counts: list[Cell] = []
        for measure, show in measures.items():
            each = found.get(measure)
            cells += pair(each, show, self._has_control(measure))
            counts.append(EMPTY if each is None else Cell(formats.count(each.n)))
            if several:
                cells.append(counts[-1])
        if spread:
            cells.append(spread_of(found.get(spread), measures[spread]))
        return cells if several else [*cells, counts[0]]

    def _of_layer(self, layer: int) -> Mapping[str, Measure]:
        return {measure: by_layer[layer] for measure, by_layer in self._found.items() if layer in by_layer}

    def _several_n(self, measures: Iterable[str]) -> bool:
        """Whether some of the measures were taken of other keys than the others."""
        every = [{layer: each.n for layer, each in self._found[measure].items()} for measure in measures]
        return any(counts != every[0] for counts in every)

    def _has_control(self, measure: str) -> bool:
        return any(each.control is not None for each in self._found[measure].values())


def _title(measure: str) -> str:
    named = drawing.CONCENTRATION | drawing.LOCALITY | drawing.FAMILIES
    return named.get(measure, measure)
