"""The sections of the page of syntax that list keys: beside people's labels, best described, highest and lowest."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from keyscope.app.analyses.syntax.layers import percent, two
from keyscope.app.labels.models import Kind
from keyscope.app.queries.syntax import described_keys, extreme_keys, scores
from keyscope.app.queries.tokens import Vocabulary
from keyscope.app.web import formats
from keyscope.app.web.formats import ROLE_TITLES
from keyscope.app.web.sections import Block, Cell, Column, Row, key_table
from keyscope.contract.analyses.syntax import LAYER_MEASURES
from keyscope.contract.keys import KeyId

LISTED = 12
"""Keys in a list of those that stand out."""


def people(cursor: duckdb.DuckDBPyConnection, labelled: Mapping[Kind, Sequence[KeyId]]) -> list[Block]:
    """The variety of labelled keys' triggers by label; no section without any."""
    of_kind = {kind: [*scores(cursor, keys).values()] for kind, keys in labelled.items() if keys}
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
    return [
        Block(
            "people",
            "Compared with people's labels",
            f"The variety of the triggers of keys that people labelled, by kind of label.{_apart(of_kind)} People chose these keys; they "
            "are no random sample of the run's keys, so there are no intervals.",
            "Scores by label",
            [
                Column("label"),
                Column("keys", "Each counted once, no matter how many people labelled it so"),
                Column("25th percentile"),
                Column("median"),
                Column("75th percentile"),
            ],
            rows,
        )
    ]


def described(cursor: duckdb.DuckDBPyConnection) -> Block:
    """The keys whose role or node is least likely by chance."""
    return key_table(
        "described",
        "Keys that their syntax describes best",
        "First the keys whose commonest role is least likely by chance, then those whose commonest node is.",
        {
            "value": "Commonest role, or node and its parent",
            "triggers": "Share of the key's triggers",
            "base": "Share of all tokens, with languages weighted as among the triggers",
            "q": "By chance, equal tokens, neighbours and positions counted once, over all keys",
        },
        (
            (
                each.key,
                ROLE_TITLES.get(each.value, each.value) if aspect == "role" else each.value,
                formats.share(each.share),
                formats.share(each.base),
                formats.number(each.distinct_q),
            )
            for aspect in ("role", "node")
            for each in described_keys(cursor, aspect, LISTED)
        ),
        "syntax_profiles",
        "Keys of one role or node",
    )


def extremes(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, highest: bool) -> Block:
    """The keys with the most varied triggers, or the least varied."""
    return key_table(
        "highest" if highest else "lowest",
        "Most varied triggers" if highest else "Least varied triggers",
        "The keys whose triggers are most varied."
        if highest
        else "The keys that one token, or the same few tokens, decide.",
        {
            "variety": LAYER_MEASURES["score"],
            "commonest token": "",
            "share": "Share of the triggers on it",
            "without it": LAYER_MEASURES["drop_last"],
        },
        (
            (
                each.key,
                two(each.score),
                formats.NOTHING if each.token is None else formats.token(each.token),
                formats.share(each.token_share),
                formats.NOTHING if each.drop_last is None else percent(each.drop_last),
            )
            for each in extreme_keys(cursor, vocabulary, LISTED, highest)
        ),
        "syntax_keys",
        "Keys by variety",
    )


def _apart(of_kind: Mapping[Kind, Sequence[float]]) -> str:
    """How well variety tells semantic from syntactic keys; empty unless there are both."""
    semantic, syntactic = of_kind.get(Kind.SEMANTIC), of_kind.get(Kind.SYNTACTIC)
    if not semantic or not syntactic:
        return ""
    return (
        f" A key labelled semantic has more varied triggers than one labelled syntactic in "
        f"{formats.share(_auroc(semantic, syntactic))} of pairs; by chance in half."
    )


def _auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Share of pairs in which the first is higher; ties count half."""
    ordered = np.sort(lower)
    won = np.searchsorted(ordered, higher) + np.searchsorted(ordered, higher, side="right")
    return float(won.mean()) / (2 * len(lower))
