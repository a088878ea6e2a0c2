"""The sections of the page about when keys fire."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from keyscope.app.analyses.firing import figures
from keyscope.app.database.engine import Database
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.firing import (
    ByGroup,
    ByLayer,
    Which,
    detectors,
    group_numbers,
    layer_numbers,
    positional_keys,
    telling_keys,
)
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.sections import (
    Block,
    Cell,
    Column,
    Figure,
    Format,
    counted,
    key_table,
    layer_table,
    measured,
)
from keyscope.contract.analyses.firing import CONTROLS, COUNTED, GROUPS, MEASURES

Wanted = tuple[str, Which, Format]
"""A column: its title, what it has and how that is written."""
LISTED = 20
"""Keys in a list of those that stand out."""
LEVEL_TITLES = {"fires": "firing", "strong": "firing strongly", "peak": "over half its largest"}
_DRAWN = (
    "Intervals are by bootstrap over projects: the whole rule is applied to each draw of projects, and the interval is the "
    "spread of the draws around the number."
)
_CENSUS = (
    "These numbers follow from the weights of all the layer's keys, whatever the corpus. They are a census, not a "
    "sample, so they have no interval."
)
_TOO_FEW = (
    "There are no intervals: the run has too few files for intervals, or the analysis predates them and has to be "
    "computed again."
)


@dataclass(frozen=True, slots=True)
class Firing:
    """What the sections are made from."""

    run: Run
    cursor: duckdb.DuckDBPyConnection
    found: Mapping[Which, ByLayer]
    groups: Mapping[Which, ByGroup]
    languages: Mapping[str, str]
    """Languages of the run with their titles."""

    @property
    def note(self) -> str:
        """Where intervals come from, or why there are none."""
        dead = self.found.get(("dead", "", ""), {})
        return _DRAWN if any(each.low is not None for each in dead.values()) else _TOO_FEW


def sections(run: Run, cursor: duckdb.DuckDBPyConnection, database: Database) -> Iterator[Block]:
    """All sections of a run for which the analysis was computed."""
    languages = {name: formats.language(name) for name in run.manifest.languages}
    of = Firing(run, cursor, layer_numbers(cursor), group_numbers(cursor), languages)
    yield _activity(of)
    yield _detectors(of)
    yield _detecting_keys(of)
    yield _suppression(of)
    yield _positions(of)
    yield _positional_keys(of)
    if len(languages) > 1:
        yield _languages(of)
        yield _telling_keys(of)
    yield _weights(of)


def _activity(of: Firing) -> Block:
    return _table(
        of,
        "activity",
        "How many keys fire, and which never do",
        "A key fires on a token if its coefficient is above 0. Activations such as GELU and SiLU are never exactly 0; "
        "for them this is the sign of their input. A key is dead if it fires on no token of the corpus. " + of.note,
        [
            Figure(
                "active",
                "Share of keys that fire on a token, by layer",
                lambda: figures.active(of.found, of.languages),
            )
        ],
        [
            ("fire", ("active", "", ""), formats.share),
            *((title, ("active", "", name), formats.share) for name, title in of.languages.items()),
            ("dead", ("dead", "", ""), formats.share),
        ],
    )


def _detectors(of: Firing) -> Block:
    return _table(
        of,
        "detectors",
        "Token detectors",
        "A detector fires on at least 95 % of the occurrences of at most five tokens, and these make up at least 95 % of "
        "its firing. The tokens under a key's stored triggers and samples are candidates, and each is counted over the "
        "whole corpus: a detector can be missed, but nothing else is taken for one. With GELU and SiLU hardly any key "
        "detects a token by firing alone, so the rule is also applied to strong firing (its own top per cent of tokens, "
        "by default) and to firing above half its largest coefficient. New tokens are those that no layer below "
        "detects. " + of.note,
        [
            _shares(of, "detectors", "Share of keys that detect tokens", figures.DETECTORS),
            Figure("tokens", "Tokens detected by the layer's keys", lambda: figures.tokens(of.found)),
        ],
        [
            *_titled(figures.DETECTORS, formats.share),
            ("tokens", ("tokens", "", ""), _count),
            ("new", ("new_tokens", "", ""), formats.share),
        ],
    )


def _detecting_keys(of: Firing) -> Block:
    detecting = detectors(of.cursor, of.run.vocabulary, LISTED)
    return key_table(
        "detecting-keys",
        "Keys that detect tokens",
        "Those that fire most come first at each level." if detecting else "No key detects a token.",
        {
            "level": "What counts as firing",
            "tokens": "The tokens it detects",
            "times": "Occurrences of these on which it fires",
            "of its firing": "The share of all its firing that these make up",
        },
        (
            (
                each.key,
                LEVEL_TITLES[each.level],
                " ".join(formats.token(token) for token in each.tokens),
                formats.count(each.fired),
                formats.share(each.share),
            )
            for each in detecting
        ),
        "firing_detectors",
        "Token detectors",
    )


def _suppression(of: Firing) -> Block:
    return _table(
        of,
        "suppression",
        "Keys that suppress their own tokens",
        "The share of keys whose value lowers the logits of the tokens they fire on most, by L(v) relative to the mean "
        "token of the vocabulary: among token detectors, and among all keys that fire. By chance: with the tokens of "
        "another key of the layer. " + of.note,
        [_shares(of, "suppression", "Share of keys that suppress their tokens", figures.SUPPRESSION)],
        _titled(figures.SUPPRESSION, formats.share),
    )


def _positions(of: Firing) -> Block:
    return _table(
        of,
        "positions",
        "Positional keys",
        "Keys whose firing has more than 0.05 nats of mutual information with the window position. Positions are in equal "
        "buckets, the first position in one of its own; the bias is corrected by Miller and Madow's method. By chance: "
        "with the positions of each window rotated by a random offset. " + of.note,
        [_shares(of, "positions", "Share of positional keys", figures.POSITIONS)],
        _titled(figures.POSITIONS, formats.share),
    )


def _positional_keys(of: Firing) -> Block:
    return key_table(
        "positional-keys",
        "Keys with most information on the position",
        "Keys without a shape are below the threshold.",
        {
            "shape": "Where in the window it fires more",
            "firing": "Nats, of firing (c > 0)",
            "strongly": "Nats, of firing strongly",
        },
        (
            (each.key, each.shape or formats.NOTHING, formats.number(each.fires), formats.number(each.strong))
            for each in positional_keys(of.cursor, LISTED)
        ),
        "firing_positions",
        "Keys by their information on the position",
    )


def _languages(of: Firing) -> Block:
    return _table(
        of,
        "languages",
        "Keys of one language",
        "Specific keys (LAPE): of the keys with a rate of strong firing above the 95th percentile in some language, "
        "those in the lowest per cent of entropy over languages, if their rates differ between files of the "
        "languages (false discovery rate 5 %). Telling keys: a threshold on the key's mean coefficient over a file, "
        "fixed on half the files, tells whether the file is in a language with an F1 of at least 0.8 on the other "
        "half. By chance: the same with each key's file means dealt to the files at random, once, so without "
        "interval. " + of.note,
        [
            _shares(of, "languages", "Share of keys, by layer", figures.LANGUAGES),
            Figure("best_f1", "Best F1 of a single key", lambda: figures.best_f1(of.found, of.languages)),
        ],
        [
            *_titled(figures.LANGUAGES, formats.share),
            *((f"best F1, {title}", ("best_f1", "", name), _two) for name, title in of.languages.items()),
            ("best F1 by chance", ("best_f1", "drawn", ""), _two),
        ],
    )


def _telling_keys(of: Firing) -> Block:
    return key_table(
        "telling-keys",
        "Keys that tell a language",
        "The best keys for each language, by F1 on files that were not used to choose the threshold.",
        {
            "language": "",
            "F1": "On held-out files",
            "rule": "Mean coefficient over a file that indicates the language",
        },
        (
            (
                each.key,
                formats.language(each.language),
                _two(each.f1),
                f"{'≥' if each.above else '<'} {formats.number(each.threshold)}",
            )
            for each in telling_keys(of.cursor, LISTED // 4)
        ),
        "firing_languages",
        "Keys that tell a language by their mean over a file",
    )


def _weights(of: Firing) -> Block:
    return _table(
        of,
        "weights",
        "Classes by weights alone",
        "Prediction and suppression keys: a kurtosis over 10 of cos(E, v) over the vocabulary, with skewness above or "
        "below 0. Entropy keys: in the last two layers, longer than nine tenths of their layer's values, with a variance "
        "of that cosine up to 0.001 and a kurtosis up to 8. By chance: with values drawn from a normal distribution with "
        "the layer's mean and variance. v is as the final norm passes it on, and E has the norm's gain folded in and its mean "
        "over the vocabulary taken off, as where these thresholds come from; raw E, for comparison, has parts that change "
        "no prediction. " + _CENSUS,
        [
            _shares(of, "classes", "Share of keys of each class", figures.CLASSES),
            Figure("cosines", "Mean cosine", lambda: figures.numbers(of.found, figures.COSINES)),
        ],
        [
            *_titled(figures.CLASSES, formats.share),
            *_titled(figures.RAW_CLASSES, formats.share),
            *_titled(figures.COSINES, formats.number),
        ],
    )


def _shares(of: Firing, name: str, title: str, titles: figures.Titles) -> Figure:
    return Figure(name, title, lambda: figures.shares(of.found, titles))


def _table(of: Firing, name: str, title: str, text: str, drawn: list[Figure], wanted: Iterable[Wanted]) -> Block:
    rows = {which: _rows(by_layer, of.groups.get(which, {})) for which, by_layer in of.found.items()}
    columns = [column for each in wanted if each[1] in rows for column in _columns(*each, rows[each[1]])]
    places = {place for column in columns for place in column.cells}
    keys: dict[Any, int] = dict(enumerate(of.run.manifest.model.keys_per_layer))
    keys |= {name: each.n for name, each in of.groups.get(("dead", "", ""), {}).items()}
    counts = {place: Cell(formats.count(n)) for place, n in keys.items() if place in places}
    columns.append(Column("keys", "What columns without an n of their own rest on", counts))
    return layer_table(name, title, text, columns, drawn, "firing_layers")


def _rows(by_layer: Mapping[int, Estimate], groups: Mapping[str, Estimate]) -> dict[Any, Estimate]:
    """Layers, and after them the groups of layers in the order of the contract."""
    return {**by_layer, **{name: groups[name] for name in GROUPS if name in groups}}


def _titled(titles: figures.Titles, show: Format) -> list[Wanted]:
    return [(title, which, show) for title, which in titles.items()]


def _columns(title: str, which: Which, show: Format, found: Mapping[Any, Estimate]) -> list[Column]:
    """The numbers, and an n of their own unless they rest on all keys."""
    columns = [measured(title, _help(which), found, show)]
    if which[0] in COUNTED:
        columns.append(counted("n", COUNTED[which[0]], found))
    return columns


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
