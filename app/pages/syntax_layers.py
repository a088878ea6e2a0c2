"""The sections of the page of syntax that have a measure of every layer: score, locality, concentration, families."""

from collections.abc import Mapping, Sequence

import duckdb

from app import drawing_syntax as drawing
from app.pages import formats
from app.pages.blocks import EMPTY, Block, Cell, Column, Format, Row
from app.pages.syntax_cells import pair, percent, spread_of, two, with_sign
from app.pages.syntax_links import SyntaxLinks
from app.queries.syntax import layer_measures, trends
from contract.analyses.syntax import LAYER_MEASURES

_TREND = "upper half less lower"
_ON_SCORE = (
    "From 0, shallow, to 1, semantic: the mean of three parts, each from 0 to 1. Spread is the share of a key's strongest "
    "triggers that are not on its commonest token and two tokens, entropy is that of its trigger tokens over the largest "
    "it could be, and locality what is left of the coefficient without the trigger token. By chance: random places for "
    "the triggers, and a random token dropped instead of the last. A key that fires everywhere is far from shallow too."
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
        head = [Column("layer", "")]
        for measure in there:
            head.append(Column(_title(measure), LAYER_MEASURES[measure]))
            if self._has_control(measure):
                head.append(Column("by chance", f"{LAYER_MEASURES[measure]}, by chance"))
        if spread:
            head.append(Column("half of the keys", "From the lower quartile to the upper"))
        layers = sorted({layer for measure in there for layer in self._found[measure]})
        rows = [
            Row(f"layer {layer}", [*self._cells(there, layer, spread), self._n(there, layer)], self._links.layer(layer))
            for layer in layers
        ]
        if all(measure in self._trends for measure in there):
            empty = [EMPTY] * (1 + bool(spread))
            rows.append(Row(_TREND, [*self._trend_cells(there), *empty]))
        return Block(
            name,
            title,
            text,
            [self._links.figure(figure, caption) for figure, caption in figures],
            f"{title}, by layer",
            [*head, Column("keys", "Keys that it was measured of")],
            rows,
            self._links.exports("syntax_layers"),
        )

    def _cells(self, measures: Mapping[str, Format], layer: int, spread: str | None) -> list[Cell]:
        cells: list[Cell] = []
        for measure, show in measures.items():
            cells += pair(self._found[measure].get(layer), show, self._has_control(measure))
        if spread:
            found = self._found[spread].get(layer)
            cells.append(spread_of(found, measures[spread]))
        return cells

    def _trend_cells(self, measures: Mapping[str, Format]) -> list[Cell]:
        cells: list[Cell] = []
        for measure, show in measures.items():
            cells += pair(self._trends[measure], with_sign(show), self._has_control(measure))
        return cells

    def _has_control(self, measure: str) -> bool:
        return any(each.control is not None for each in self._found[measure].values())

    def _n(self, measures: Mapping[str, Format], layer: int) -> Cell:
        found = [self._found[measure][layer].n for measure in measures if layer in self._found[measure]]
        return Cell(formats.count(max(found))) if found else EMPTY


def _title(measure: str) -> str:
    named = drawing.CONCENTRATION | drawing.LOCALITY | drawing.FAMILIES
    return named.get(measure, measure)
