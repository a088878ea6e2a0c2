"""The sections of the page of syntax."""

from collections.abc import Mapping, Sequence

import duckdb

from app import drawing_syntax as drawing
from app.labels.models import Kind
from app.pages import formats
from app.pages.agreement_blocks import ROLE_TITLES
from app.pages.blocks import EMPTY, Block, Cell, Column, Figure, Format, Row
from app.pages.links import Links
from app.pages.syntax_cells import pair, percent, rate, spread_of, two, value_cells, with_sign
from app.queries.syntax import (
    LayerValue,
    base_rates,
    described_keys,
    extreme_keys,
    layer_measures,
    layer_values,
    scores,
    trends,
)
from app.runs import Run
from contract.analyses.syntax import ASPECTS, LAYER_MEASURES, ROLES
from contract.keys import KeyId

LISTED = 12
"""Keys in a list of those that stand out."""
NODES = 24
"""Node types in a table."""
_TREND = "upper half less lower"
_ON_SCORE = (
    "From 0, shallow, to 1, semantic: the mean of three parts, each from 0 to 1. Spread is the share of a key's strongest "
    "triggers that are not on its commonest token and two tokens, entropy is that of its trigger tokens over the largest "
    "it could be, and locality what is left of the coefficient without the trigger token. By chance: random places for "
    "the triggers, and a random token dropped instead of the last. A key that fires everywhere is far from shallow too."
)


def blocks(
    run: Run, cursor: duckdb.DuckDBPyConnection, links: Links, labelled: Mapping[Kind, Sequence[KeyId]]
) -> list[Block]:
    """All sections of a run whose syntax is analysed; `labelled` has the keys of people's labels by kind."""
    make = _Blocks(run, cursor, links)
    return [
        make.score(),
        *make.people(labelled),
        make.locality(),
        make.concentration(),
        make.roles(),
        make.families(),
        make.nodes(),
        make.described(),
        make.extremes(semantic=False),
        make.extremes(semantic=True),
        make.base(),
    ]


def role_titles() -> dict[str, str]:
    """What roles are called on pages."""
    return {role: ROLE_TITLES[role] for role in ROLES}


def most_common(found: Mapping[str, Mapping[int, LayerValue]], limit: int) -> list[str]:
    """The values that are commonest among triggers, over all layers."""
    totals = {value: sum(cell.n for cell in by_layer.values()) for value, by_layer in found.items()}
    return sorted(totals, key=lambda value: (-totals[value], value))[:limit]


class _Blocks:
    """Sections of one run."""

    def __init__(self, run: Run, cursor: duckdb.DuckDBPyConnection, links: Links) -> None:
        self._run, self._cursor, self._links = run, cursor, links
        self._found, self._trends = layer_measures(cursor), trends(cursor)

    def score(self) -> Block:
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

    def people(self, labelled: Mapping[Kind, Sequence[KeyId]]) -> list[Block]:
        """The score beside people's labels; nothing where there are none."""
        of_kind = {kind: sorted(scores(self._cursor, keys).values()) for kind, keys in labelled.items() if keys}
        of_kind = {kind: found for kind, found in of_kind.items() if found}
        if not of_kind:
            return []
        rows = [
            Row(
                kind.value,
                [
                    Cell(formats.count(len(found))),
                    *(Cell(two(found[int(at * (len(found) - 1))])) for at in (0.25, 0.5, 0.75)),
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
                f"The scores of keys that people have labelled, by what they say of them.{apart}",
                [],
                "Scores by label",
                [
                    Column("label", ""),
                    Column("labels", ""),
                    Column("lower quartile", ""),
                    Column("median", ""),
                    Column("upper quartile", ""),
                ],
                rows,
            )
        ]

    def locality(self) -> Block:
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
        return self._by_layer(
            "concentration",
            "Tokens and n-grams",
            "The share of a key's strongest triggers that end in its commonest token, two tokens or three. By chance: random "
            "places of the same languages.",
            [("concentration", "Share on the commonest, by layer")],
            dict.fromkeys(drawing.CONCENTRATION, formats.share),
        )

    def roles(self) -> Block:
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

    def families(self) -> Block:
        return self._by_layer(
            "families",
            "Grammar, names, text and layout",
            "The share of keys with half their triggers or more in one family of roles: what the language defines, what people "
            "and libraries name, what is no code, white space. By chance: each trigger token has the roles of another token "
            "about as common, the same one for equal tokens, so that token detectors stay token detectors.",
            [("families", "Share of keys, by layer"), ("family_chance", "Against the roles of other tokens")],
            dict.fromkeys(drawing.FAMILIES, formats.share),
        )

    def nodes(self) -> Block:
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

    def described(self) -> Block:
        rows = []
        for aspect in ("role", "node"):
            for each in described_keys(self._cursor, aspect, LISTED):
                title = role_titles().get(each.value, each.value) if aspect == "role" else each.value
                cells = [title, formats.share(each.share), formats.share(each.base), formats.number(each.distinct_q)]
                rows.append(self._key_row(each.key, *cells))
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
            self._exports("syntax_profiles"),
        )

    def extremes(self, semantic: bool) -> Block:
        found = extreme_keys(self._cursor, self._run.vocabulary, LISTED, semantic)
        rows = [
            self._key_row(
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
            self._exports("syntax_keys"),
        )

    def base(self) -> Block:
        found = base_rates(self._cursor, "role")
        languages = self._run.manifest.languages
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
            self._exports("syntax_base"),
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
            Row(f"layer {layer}", [*self._cells(there, layer, spread), self._n(there, layer)], self._layer(layer))
            for layer in layers
        ]
        if all(measure in self._trends for measure in there):
            empty = [EMPTY] * (1 + bool(spread))
            rows.append(Row(_TREND, [*self._trend_cells(there), *empty]))
        return Block(
            name,
            title,
            text,
            [self._figure(figure, caption) for figure, caption in figures],
            f"{title}, by layer",
            [*head, Column("keys", "Keys that it was measured of")],
            rows,
            self._exports("syntax_layers"),
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
        rows = [
            Row(
                f"{titles.get(value, value)}, layer {layer}",
                value_cells(found[value][layer]),
                self._layer(layer),
            )
            for value in order
            for layer in layers
            if layer in found[value]
        ]
        return Block(
            name,
            title,
            text,
            [
                self._figure(
                    figure,
                    "Lift over the corpus, by layer: 1 is as common as there; warm is commoner, cool rarer",
                    tall=True,
                )
            ],
            f"{title}, by layer",
            [
                Column(f"{aspect} and layer", ASPECTS[aspect]),
                Column("triggers", "Share of the triggers of the layer's keys"),
                Column("by chance", "Triggers with the roles of other tokens about as common"),
                Column("corpus", "Share of all tokens, languages weighted as among the triggers"),
                Column("lift", "Share of triggers over share of the corpus"),
                Column("keys", "Keys whose commonest it is"),
                Column("significant", "Those with q up to 0.05, equal tokens, neighbours and positions counted once"),
                Column("n", "Triggers with it"),
            ],
            rows,
            self._exports("syntax_layer_values"),
        )

    def _key_row(self, key: KeyId, *texts: str) -> Row:
        return Row(str(key), [Cell(text) for text in texts], self._links.key(self._run.run_id, key))

    def _figure(self, name: str, caption: str, tall: bool = False) -> Figure:
        href = self._links.to("syntax_figure", run=self._run.run_id, figure=name)
        return Figure(caption, href, None if tall else self._layer(0), tall)

    def _layer(self, layer: int) -> str:
        return self._links.layer(self._run.run_id, layer)

    def _exports(self, table: str) -> dict[str, str]:
        return self._links.exports("export_analysis_table", run=self._run.run_id, table=table)


def _title(measure: str) -> str:
    named = drawing.CONCENTRATION | drawing.LOCALITY | drawing.FAMILIES
    return named.get(measure, measure)


def _auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Share of pairs in which the first is higher, ties by half."""
    won = sum((one > other) + (one == other) / 2 for one in higher for other in lower)
    return won / (len(higher) * len(lower))
