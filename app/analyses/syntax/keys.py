"""The sections of the page of syntax that list keys: beside people's labels, best described, and highest and lowest."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from keyscope.app.analyses.syntax.cells import percent, two
from keyscope.app.analyses.syntax.links import SyntaxLinks
from keyscope.app.analyses.syntax.values import role_titles
from keyscope.app.labels.models import Kind
from keyscope.app.queries.syntax import described_keys, extreme_keys, scores
from keyscope.app.web import formats
from keyscope.app.web.sections import Block, Cell, Column, Row
from keyscope.contract.analyses.syntax import LAYER_MEASURES
from keyscope.contract.keys import KeyId

LISTED = 12
"""Keys in a list of those that stand out."""


class KeyBlocks:
    """Sections of one run."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, links: SyntaxLinks) -> None:
        self._cursor, self._links = cursor, links

    def people(self, labelled: Mapping[Kind, Sequence[KeyId]]) -> list[Block]:
        """The score beside people's labels; nothing where there are none."""
        of_kind = {kind: [*scores(self._cursor, keys).values()] for kind, keys in labelled.items() if keys}
        of_kind = {kind: found for kind, found in of_kind.items() if found}
        if not of_kind:
            return []
        rows = [
            Row(
                kind.value,
                [
                    Cell(formats.count(len(found))),
                    *(Cell(two(float(score))) for score in np.quantile(found, (0.25, 0.5, 0.75))),
                ],
            )
            for kind, found in of_kind.items()
        ]
        both = of_kind.get(Kind.SEMANTIC), of_kind.get(Kind.SYNTACTIC)
        apart = ""
        if both[0] and both[1]:
            apart = (
                f" A key that people call semantic has a higher score than one they call syntactic in "
                f"{formats.share(_auroc(both[0], both[1]))} of pairs; half would be chance."
            )
        return [
            Block(
                "people",
                "Beside people's labels",
                f"The scores of keys that people have labelled, by what they say of them.{apart} These keys are those that somebody "
                "chose to label, no sample of the run's, so that there are no intervals.",
                [],
                "Scores by label",
                [
                    Column("label", ""),
                    Column("keys", "Each counted once, however many people say so"),
                    Column("lower quartile", ""),
                    Column("median", ""),
                    Column("upper quartile", ""),
                ],
                rows,
            )
        ]

    def described(self) -> Block:
        """The keys whose role or node is least likely by chance."""
        rows = []
        for aspect in ("role", "node"):
            for each in described_keys(self._cursor, aspect, LISTED):
                title = role_titles().get(each.value, each.value) if aspect == "role" else each.value
                cells = [title, formats.share(each.share), formats.share(each.base), formats.number(each.distinct_q)]
                rows.append(self._links.key_row(each.key, *cells))
        return Block(
            "described",
            "Keys that their syntax describes best",
            "The keys whose commonest role, and then whose commonest node, is least likely by chance.",
            [],
            "Keys of one role or node",
            [
                Column("key", ""),
                Column("value", "Commonest role, or node and the one it stands in"),
                Column("triggers", "Share of the key's triggers"),
                Column("base", "Share of all tokens, languages weighted as among the triggers"),
                Column("q", "By chance, equal tokens, neighbours and positions counted once, over all keys"),
            ],
            rows,
            self._links.exports("syntax_profiles"),
        )

    def extremes(self, semantic: bool) -> Block:
        """The keys with the highest scores, or the lowest."""
        found = extreme_keys(self._cursor, self._links.run.vocabulary, LISTED, semantic)
        rows = [
            self._links.key_row(
                each.key,
                two(each.score),
                formats.NOTHING if each.token is None else formats.token(each.token),
                formats.share(each.token_share),
                formats.NOTHING if each.drop_last is None else percent(each.drop_last),
            )
            for each in found
        ]
        return Block(
            "highest" if semantic else "lowest",
            "Highest scores" if semantic else "Lowest scores",
            "The keys farthest from shallow." if semantic else "The shallowest keys.",
            [],
            "Keys by score",
            [
                Column("key", ""),
                Column("score", LAYER_MEASURES["score"]),
                Column("commonest token", ""),
                Column("share", "Share of the triggers on it"),
                Column("without it", LAYER_MEASURES["drop_last"]),
            ],
            rows,
            self._links.exports("syntax_keys"),
        )


def _auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Share of pairs in which the first is higher, ties by half."""
    ordered = np.sort(lower)
    won = np.searchsorted(ordered, higher) + np.searchsorted(ordered, higher, side="right")
    return float(won.mean()) / (2 * len(lower))
