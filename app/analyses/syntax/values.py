"""The sections of the page of syntax about roles and nodes: how common each is among triggers, and in the corpus."""

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from keyscope.app.analyses.agreement.sections import ROLE_TITLES
from keyscope.app.analyses.syntax.cells import rate, value_cells
from keyscope.app.analyses.syntax.links import SyntaxLinks
from keyscope.app.queries.syntax import LayerValue, base_rates, layer_values
from keyscope.app.web import formats
from keyscope.app.web.sections import Block, Column, Row
from keyscope.contract.analyses.syntax import ASPECTS, ROLES

NODES = 24
"""Node types in a table."""


def role_titles() -> dict[str, str]:
    """What roles are called on pages."""
    return {role: ROLE_TITLES[role] for role in ROLES}


def most_common(found: Mapping[str, Mapping[int, LayerValue]], limit: int) -> list[str]:
    """The values that are commonest among triggers, over all layers."""
    totals = {value: sum(cell.n for cell in by_layer.values()) for value, by_layer in found.items()}
    return sorted(totals, key=lambda value: (-totals[value], value))[:limit]


class ValueBlocks:
    """Sections of one run."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, links: SyntaxLinks) -> None:
        self._cursor, self._links = cursor, links

    def roles(self) -> Block:
        """How common roles are among triggers."""
        found = layer_values(self._cursor, "role")
        order = [role for role in ROLES if role in found]
        return self._by_value(
            "roles",
            "Roles of trigger tokens",
            "How common each role is among the triggers of a layer's keys, over how common it is in the corpus. Significant "
            "are keys whose commonest role is so in more triggers than random places would give, with equal tokens, equal "
            "tokens before them and equal positions counted once, over all keys (false discovery rate 5 %): more than a "
            "few tokens that happen to be so.",
            "role",
            "role_lifts",
            found,
            order,
            role_titles(),
        )

    def nodes(self) -> Block:
        """How common syntax nodes are among triggers."""
        found = layer_values(self._cursor, "node")
        order = most_common(found, NODES)
        return self._by_value(
            "nodes",
            "Syntax nodes of trigger tokens",
            f"{ASPECTS['node']}. The commonest among triggers are listed.",
            "node",
            "node_lifts",
            found,
            order,
            {},
        )

    def base(self) -> Block:
        """How common roles are in the corpus."""
        found = base_rates(self._cursor, "role")
        languages = self._links.run.manifest.languages
        return Block(
            "base",
            "The corpus itself",
            "How common each role is among all tokens of the corpus, by language: the base that triggers are held against.",
            [],
            "Roles in the corpus",
            [
                Column("role", ""),
                *(Column(formats.language(name), "Share of the language's tokens") for name in languages),
            ],
            [
                Row(title, [rate(found[role].get(language)) for language in languages])
                for role, title in role_titles().items()
                if role in found
            ],
            self._links.exports("syntax_base"),
        )

    def _by_value(
        self,
        name: str,
        title: str,
        text: str,
        aspect: str,
        figure: str,
        found: Mapping[str, Mapping[int, LayerValue]],
        order: Sequence[str],
        titles: Mapping[str, str],
    ) -> Block:
        layers = sorted({layer for by_layer in found.values() for layer in by_layer})
        triggers = {layer: _triggers(each[layer] for each in found.values() if layer in each) for layer in layers}
        rows = [
            Row(
                f"{titles.get(value, value)}, layer {layer}",
                value_cells(found[value][layer], triggers[layer]),
                self._links.layer(layer),
            )
            for value in order
            for layer in layers
            if layer in found[value]
        ]
        return Block(
            name,
            title,
            f"{text} Keys and significant are counts of the layer's keys, without intervals: what chance gives is in q.",
            [
                self._links.figure(
                    figure,
                    "Lift over the corpus, by layer: 1 is as common as there; warm is commoner, cool rarer",
                    tall=True,
                )
            ],
            f"{title}, by layer",
            [
                Column(f"{aspect} and layer", ASPECTS[aspect]),
                Column("triggers", "Share of the triggers of the layer's keys"),
                Column("by chance", "Triggers with the roles of other tokens about as common; the range of its draws"),
                Column("corpus", "Share of all tokens, languages weighted as among the triggers"),
                Column("lift", "Share of triggers over share of the corpus"),
                Column("keys", "Keys whose commonest it is"),
                Column("significant", "Those with q up to 0.05, equal tokens, neighbours and positions counted once"),
                Column("n", "Triggers with it, of all triggers of the layer's keys"),
            ],
            rows,
            self._links.exports("syntax_layer_values"),
        )


def _triggers(found: Iterable[LayerValue]) -> int:
    """All triggers of a layer, of which each value has its share."""
    commonest = max(found, key=lambda each: each.n)
    return round(commonest.n / commonest.value) if commonest.value else 0
