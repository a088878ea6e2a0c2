"""The section of a key's page on syntax: what its triggers have in common, and how varied they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import duckdb

from keyscope.app.analyses.kind import Fact
from keyscope.app.queries.syntax import KeySyntax, ProfileRow, key_syntax
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.formats import ROLE_TITLES
from keyscope.contract.analyses.syntax import ASPECTS, KEY_MEASURES, NOWHERE
from keyscope.contract.keys import KeyId

SURE = 0.05
"""Largest q at which a value counts as more than a few repeated tokens."""
_TITLES = {
    "score": "variety",
    "token_share": "on its commonest token",
    "bigram_share": "on its commonest two",
    "tokens_to_cover": "tokens for 95 %",
    "bigrams_to_cover": "two tokens for 95 %",
    "drop_last": "without the trigger token",
    "drop_first": "without the first token",
    "drop_random": "without a random token",
}
_HELP = {column.name: column.help for column in KEY_MEASURES}
_SHARES = frozenset({"token_share", "bigram_share", "drop_last", "drop_first", "drop_random"})


@dataclass(frozen=True, slots=True)
class Value:
    title: str
    share: str
    base: str
    samples: str
    about: str
    """Everything known about it, in a sentence."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """What a key's triggers are on, by one aspect."""

    name: str
    help: str
    sure: bool
    """The commonest value is more than a few repeated tokens, neighbours or positions."""
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class SyntaxOfKey:
    triggers: int
    measures: Sequence[Fact]
    aspects: Sequence[Aspect]


def syntax_of_key(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> SyntaxOfKey | None:
    """The section of a key; None if the analysis is missing or the key has no triggers."""
    found = key_syntax(cursor, run.blocks, key)
    if found is None or not found.profile:
        return None
    by_aspect = {aspect: list(rows) for aspect, rows in groupby(found.profile, key=lambda row: row.aspect)}
    # skip an aspect whose only value is "none"
    told = [name for name in ASPECTS if any(row.value != NOWHERE for row in by_aspect.get(name, ()))]
    aspects = [_aspect(name, by_aspect[name]) for name in told]
    return SyntaxOfKey(
        triggers=int(found.measures["triggers"] or 0),
        measures=_measures(found),
        aspects=aspects,
    )


def _measures(found: KeySyntax) -> list[Fact]:
    shown = []
    for name, title in _TITLES.items():
        value = found.measures.get(name)
        if isinstance(value, int | float):
            shown.append(Fact(title, _HELP[name], _show(name, value), f"help-syntax-{name}"))
    return shown


def _show(name: str, value: float) -> str:
    if name in _SHARES:
        return formats.share(value) if value >= 0 else f"\N{MINUS SIGN}{formats.share(-value)}"
    return formats.number(value)


def _aspect(name: str, found: Sequence[ProfileRow]) -> Aspect:
    sure = found[0].distinct_q is not None and found[0].distinct_q <= SURE
    return Aspect(name, ASPECTS[name], sure, [_value(each) for each in found])


def _value(row: ProfileRow) -> Value:
    about = (
        f"{row.triggers} triggers, {formats.number(row.lift)} times as many as usual; "
        f"{formats.share(row.sample_share)} of its samples"
    )
    if row.q is not None:
        about += f"; q {formats.number(row.q)}, {formats.number(row.distinct_q)} with equal tokens counted once"
    title = f"no {row.aspect}" if row.value == NOWHERE else row.value
    if row.aspect == "role":
        title = ROLE_TITLES.get(row.value, row.value)
    return Value(title, formats.share(row.share), formats.share(row.base), formats.share(row.sample_share), about)
