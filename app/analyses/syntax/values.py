"""The sections of the page of syntax about roles and nodes: how common each is among triggers, and in the corpus."""

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from keyscope.app.analyses.syntax import figures
from keyscope.app.queries.syntax import LayerValue, base_rates, layer_values
from keyscope.app.web import formats
from keyscope.app.web.formats import ROLE_TITLES
from keyscope.app.web.sections import Block, Cell, Column, Figure, Row, with_interval
from keyscope.contract.analyses.syntax import ASPECTS, ROLES

NODES = 24
"""Node types in a table."""


def roles(cursor: duckdb.DuckDBPyConnection) -> Block:
    """How common roles are among triggers."""
    found = layer_values(cursor, "role")
    return _by_value(
        "role",
        "Roles of trigger tokens",
        "How common each role is among the triggers of a layer's keys, relative to the corpus. A key is significant if its "
        "commonest role has more triggers than random places would give, with equal tokens, equal preceding tokens and "
        "equal positions counted once, over all keys (false discovery rate 5 %): more than a few repeated tokens.",
        found,
        [role for role in ROLES if role in found],
        ROLE_TITLES,
    )


def nodes(cursor: duckdb.DuckDBPyConnection) -> Block:
    """How common syntax nodes are among triggers."""
    found = layer_values(cursor, "node")
    totals = {value: sum(cell.n for cell in by_layer.values()) for value, by_layer in found.items()}
    return _by_value(
        "node",
        "Syntax nodes of trigger tokens",
        f"{ASPECTS['node']}. The table lists those that are commonest among triggers.",
        found,
        sorted(totals, key=lambda value: (-totals[value], value))[:NODES],
        {},
    )


def base(cursor: duckdb.DuckDBPyConnection, languages: Sequence[str]) -> Block:
    """How common roles are in the corpus."""
    found = base_rates(cursor, "role")
    return Block(
        "base",
        "The corpus itself",
        "How common each role is among all tokens of the corpus, by language: what triggers are compared with.",
        "Roles in the corpus",
        [
            Column("role"),
            *(Column(formats.language(name), "Share of the language's tokens") for name in languages),
        ],
        [
            Row(ROLE_TITLES[role], [with_interval(found[role].get(name), formats.share) for name in languages])
            for role in ROLES
            if role in found
        ],
        table="syntax_base",
    )


def _by_value(
    aspect: str,
    title: str,
    text: str,
    found: Mapping[str, Mapping[int, LayerValue]],
    order: Sequence[str],
    titles: Mapping[str, str],
) -> Block:
    layers = sorted({layer for by_layer in found.values() for layer in by_layer})
    triggers = {layer: _triggers(each[layer] for each in found.values() if layer in each) for layer in layers}
    return Block(
        f"{aspect}s",
        title,
        f"{text} The columns keys and significant count keys of the layer and have no intervals; q accounts for chance.",
        f"{title}, by layer",
        [
            Column(f"{aspect} and layer", ASPECTS[aspect]),
            Column("triggers", "Share of the triggers of the layer's keys"),
            Column("by chance", "Triggers with the roles of other tokens about as common; with the range of the draws"),
            Column("corpus", "Share of all tokens, with languages weighted as among the triggers"),
            Column("lift", "Share of triggers over share of the corpus"),
            Column("keys", "Keys whose commonest value it is"),
            Column("significant", "Those with q up to 0.05, equal tokens, neighbours and positions counted once"),
            Column("n", "Triggers with it, of all triggers of the layer's keys"),
        ],
        [
            Row(f"{titles.get(value, value)}, layer {layer}", _cells(found[value][layer], triggers[layer]), layer)
            for value in order
            for layer in layers
            if layer in found[value]
        ],
        [
            Figure(
                f"{aspect}_lifts",
                "Lift over the corpus, by layer: 1 is as common as there; warm is commoner, cool rarer",
                lambda: figures.lifts(found, order, titles),
                opens_layers=False,
                tall=True,
            )
        ],
        "syntax_layer_values",
    )


def _cells(found: LayerValue, triggers: int) -> list[Cell]:
    return [
        with_interval(found, formats.share),
        with_interval(found.control, formats.share),
        Cell(formats.share(found.base)),
        Cell(formats.number(found.lift)),
        Cell(formats.count(found.keys)),
        Cell(formats.count(found.significant)),
        Cell(f"{formats.count(found.n)} of {formats.count(triggers)}"),
    ]


def _triggers(found: Iterable[LayerValue]) -> int:
    """All triggers of a layer, from the count and the share of its commonest value."""
    commonest = max(found, key=lambda each: each.n)
    return round(commonest.n / commonest.value) if commonest.value else 0
