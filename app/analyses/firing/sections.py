"""The sections of the page about when keys fire."""

from collections.abc import Callable, Sequence

import duckdb

from keyscope.app.analyses.firing import figures as drawing
from keyscope.app.queries.firing import (
    LayerNumber,
    Which,
    detectors,
    group_numbers,
    layer_numbers,
    positional_keys,
    telling_keys,
)
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.links import Links
from keyscope.app.web.sections import EMPTY, Block, Cell, Column, Figure, Row, with_interval
from keyscope.contract.analyses.firing import CONTROLS, COUNTED, GROUPS, MEASURES
from keyscope.contract.keys import KeyId

Show = Callable[[float], str]
LISTED = 20
"""Keys in a list of those that stand out."""
LEVEL_TITLES = {"fires": "firing", "strong": "firing strongly", "peak": "over half its largest"}
_DRAWN = (
    "Intervals are by bootstrap over files: the whole rule is applied to the files of each draw, and the spread of the draws "
    "laid around the number. "
)
_CENSUS = (
    "These numbers follow from the weights of all the layer's keys, whatever the corpus: a census, of which nothing is drawn, "
    "so they have no interval. "
)
_TOO_FEW = "It has too few files for intervals, or was computed before there were any: then compute it again. "


def blocks(run: Run, cursor: duckdb.DuckDBPyConnection, links: Links) -> list[Block]:
    """All sections of a run whose firing is analysed."""
    make = _Blocks(run, cursor, links)
    return [
        make.activity(),
        make.detectors(),
        make.detecting_keys(),
        make.suppression(),
        make.positions(),
        make.positional_keys(),
        *make.of_languages(),
        make.weights(),
    ]


class _Blocks:
    """Sections of one run."""

    def __init__(self, run: Run, cursor: duckdb.DuckDBPyConnection, links: Links) -> None:
        self._run, self._cursor, self._links = run, cursor, links
        self._found, self._groups = layer_numbers(cursor), group_numbers(cursor)
        drawn = any(each.low is not None for each in self._found.get(("dead", "", ""), {}).values())
        self._on_draws = _DRAWN if drawn else _TOO_FEW
        self._languages = {name: formats.language(name) for name in run.manifest.languages}

    def activity(self) -> Block:
        columns: list[tuple[str, Which, Show]] = [("fire", ("active", "", ""), formats.share)]
        columns += [(title, ("active", "", name), formats.share) for name, title in self._languages.items()]
        columns += [("dead", ("dead", "", ""), formats.share)]
        return self._by_layer(
            "activity",
            "How many keys fire, and which never do",
            "A key fires on a token where its coefficient is above 0: with activations that are never exactly 0, such as "
            "GELU and SiLU, that is the sign of what goes in. A key is dead where it fires on no token of the corpus. "
            f"{self._on_draws}",
            [("active", "Share of keys that fire on a token, by layer")],
            columns,
        )

    def detectors(self) -> Block:
        columns: list[tuple[str, Which, Show]] = [
            (title, (measure, control, ""), formats.share) for title, (measure, control) in drawing.DETECTORS.items()
        ]
        columns += [("tokens", ("tokens", "", ""), _count), ("new", ("new_tokens", "", ""), formats.share)]
        return self._by_layer(
            "detectors",
            "Token detectors",
            "A detector fires on 95 % or more of the occurrences of at most five tokens, and these make 95 % or more of its "
            "firing. Candidates are the tokens under its stored triggers and samples; each is then counted through the whole "
            "corpus, so a key can be missed but not taken for a detector wrongly. With GELU and SiLU hardly a key "
            "detects anything by firing alone, so the rule is also tried on firing strongly (its own highest per cent of "
            "tokens, unless set otherwise) and over half its largest coefficient. New is a token that no layer below detects. "
            f"{self._on_draws}",
            [("detectors", "Share of keys that detect tokens"), ("tokens", "Tokens detected by the layer's keys")],
            columns,
        )

    def detecting_keys(self) -> Block:
        found = detectors(self._cursor, self._run.vocabulary, LISTED)
        rows = [
            self._key_row(
                each.key,
                LEVEL_TITLES[each.level],
                " ".join(formats.token(token) for token in each.tokens),
                formats.count(each.fired),
                formats.share(each.share),
            )
            for each in found
        ]
        return Block(
            "detecting-keys",
            "Keys that detect tokens",
            "Those that fire most come first at each level." if found else "No key detects a token.",
            [],
            "Token detectors",
            [
                Column("key", ""),
                Column("level", "What counts as firing"),
                Column("tokens", "The tokens it detects"),
                Column("times", "Occurrences of these on which it fires"),
                Column("of its firing", "Share of all its firing that these make"),
            ],
            rows,
            self._exports("firing_detectors"),
        )

    def suppression(self) -> Block:
        columns = self._curves(drawing.SUPPRESSION, formats.share)
        return self._by_layer(
            "suppression",
            "Away from their own tokens",
            "The share of keys whose value lowers the logits of the tokens it fires on most, L(v) against the mean token of "
            "the vocabulary; of token detectors, and of all keys that fire. By chance: the tokens of another key of the "
            f"layer. {self._on_draws}",
            [("suppression", "Share of keys that write away from their tokens")],
            columns,
        )

    def positions(self) -> Block:
        return self._by_layer(
            "positions",
            "Positional keys",
            "Mutual information of firing and window position over 0.05 nats, natural logarithm, positions in equal buckets "
            "with the first position apart, corrected for its bias by Miller and Madow. By chance: positions shifted round "
            f"inside each window by a random number of places. {self._on_draws}",
            [("positions", "Share of keys that know the position")],
            self._curves(drawing.POSITIONS, formats.share),
        )

    def positional_keys(self) -> Block:
        rows = [
            self._key_row(
                each.key, each.shape or formats.NOTHING, formats.number(each.fires), formats.number(each.strong)
            )
            for each in positional_keys(self._cursor, LISTED)
        ]
        return Block(
            "positional-keys",
            "Keys with most information on the position",
            "Those without a shape are under the threshold.",
            [],
            "Keys by their information on the position",
            [
                Column("key", ""),
                Column("shape", "Where in the window it fires more"),
                Column("firing", "Nats, of firing (c > 0)"),
                Column("strongly", "Nats, of firing strongly"),
            ],
            rows,
            self._exports("firing_positions"),
        )

    def of_languages(self) -> list[Block]:
        if len(self._languages) < 2:
            return []
        columns: list[tuple[str, Which, Show]] = self._curves(drawing.LANGUAGES, formats.share)
        columns += [(f"best F1, {title}", ("best_f1", "", name), _two) for name, title in self._languages.items()]
        columns += [("best F1 by chance", ("best_f1", "drawn", ""), _two)]
        telling = [
            self._key_row(
                each.key,
                formats.language(each.language),
                _two(each.f1),
                f"{'≥' if each.above else '<'} {formats.number(each.threshold)}",
            )
            for each in telling_keys(self._cursor, LISTED // 4)
        ]
        return [
            self._by_layer(
                "languages",
                "Keys of one language",
                "Specific: of keys whose rate of firing strongly in some language is over the 95th percentile of all rates, the "
                "per cent of all keys with the lowest entropy over languages (LAPE), where the rates differ between files of "
                "the languages (false discovery rate 5 %). Telling: a key's mean coefficient over a file says whether the file "
                "is of a language, by a threshold fixed on half the files, with F1 of 0.8 or more on the other half. By "
                f"chance: the same with every key's file means dealt to the files anew, once, so that it has no interval. "
                f"{self._on_draws}",
                [("languages", "Share of keys, by layer"), ("best_f1", "Best F1 of a single key")],
                columns,
            ),
            Block(
                "telling-keys",
                "Keys that tell a language",
                "The best of each language, by F1 on files that had no part in the choice of the threshold.",
                [],
                "Keys that tell a language by their mean over a file",
                [
                    Column("key", ""),
                    Column("language", ""),
                    Column("F1", "On held-out files"),
                    Column("rule", "Mean coefficient over a file that says the language"),
                ],
                telling,
                self._exports("firing_languages"),
            ),
        ]

    def weights(self) -> Block:
        columns = self._curves(drawing.CLASSES, formats.share) + self._curves(drawing.COSINES, formats.number)
        return self._by_layer(
            "weights",
            "What weights say",
            "Prediction and suppression keys: kurtosis over 10 of cos(E, v) over the vocabulary, skewness above or below 0. "
            "Entropy keys: in the last two layers, longer than nine tenths of their layer's values, variance of that "
            "cosine up to 0.001 and kurtosis up to 8. By chance: values drawn from a bell curve with the layer's mean and "
            f"variance. {_CENSUS}",
            [("classes", "Share of keys of each class"), ("cosines", "Mean cosine")],
            columns,
        )

    def _curves(self, curves: drawing.Curves, show: Show) -> list[tuple[str, Which, Show]]:
        return [(title, (measure, control, ""), show) for title, (measure, control) in curves.items()]

    def _by_layer(
        self,
        name: str,
        title: str,
        text: str,
        figures: Sequence[tuple[str, str]],
        columns: Sequence[tuple[str, Which, Show]],
    ) -> Block:
        there = [column for column in columns if column[1] in self._found]
        layers = sorted({layer for _, which, _ in there for layer in self._found[which]})
        head = [Column("layer", "")]
        for title_of, which, _ in there:
            head.append(Column(title_of, _help(which)))
            if which[0] in COUNTED:
                head.append(Column("n", COUNTED[which[0]]))
        return Block(
            name,
            title,
            text,
            [
                Figure(
                    caption,
                    self._links.to("firing_figure", run=self._run.run_id, figure=figure),
                    self._links.layer(self._run.run_id, 0),
                )
                for figure, caption in figures
            ],
            f"{title}, by layer",
            [*head, Column("keys", "n of all columns without their own")],
            [
                Row(
                    f"layer {layer}",
                    [
                        *(
                            cell
                            for _, which, show in there
                            for cell in _cells(which, self._found[which].get(layer), show)
                        ),
                        Cell(formats.count(self._run.manifest.model.keys_per_layer[layer])),
                    ],
                    self._links.layer(self._run.run_id, layer),
                )
                for layer in layers
            ]
            + self._together(there),
            self._exports("firing_layers"),
        )

    def _together(self, columns: Sequence[tuple[str, Which, Show]]) -> list[Row]:
        """Rows of layers together, which some measures do not have."""
        rows = []
        for name in GROUPS:
            numbers = {which: self._groups.get(which, {}).get(name) for _, which, _ in columns}
            if not any(numbers.values()):
                continue
            cells = [cell for _, which, show in columns for cell in _cells(which, numbers[which], show)]
            rows.append(Row(name, [*cells, Cell(formats.count(self._groups["dead", "", ""][name].n))]))
        return rows

    def _key_row(self, key: KeyId, *texts: str) -> Row:
        return Row(str(key), [Cell(text) for text in texts], self._links.key(self._run.run_id, key))

    def _exports(self, table: str) -> dict[str, str]:
        return self._links.exports("export_analysis_table", run=self._run.run_id, table=table)


def _cells(which: Which, number: LayerNumber | None, show: Show) -> list[Cell]:
    """The number, and what it rests on where that is not the keys."""
    cell = EMPTY if number is None else with_interval(number.value, number.low, number.high, show)
    if which[0] not in COUNTED:
        return [cell]
    return [cell, EMPTY if number is None else Cell(formats.count(number.n))]


def _help(which: Which) -> str:
    measure, control, part = which
    text = MEASURES[measure]
    if control:
        text += f"; {CONTROLS[control][0].lower()}{CONTROLS[control][1:]}"
    return f"{text}; {formats.language(part)}" if part else text


def _two(value: float) -> str:
    return f"{value:.2f}"


def _count(value: float) -> str:
    return formats.count(round(value))
