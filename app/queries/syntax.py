"""Reads the analysis of syntax: how varied the triggers of each layer are, what their triggers are on, and one key."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from keyscope.app.queries.blocks import BLOCK, Blocks
from keyscope.app.queries.estimate import Controlled, Estimate, grouped
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import Statistics, clean, named, rows, select
from keyscope.contract.analyses.syntax import KEY_MEASURES
from keyscope.contract.keys import KeyId

_ESTIMATE = "low, high, {n}, control, control_low, control_high"
_LAYERS = f"""
    SELECT measure, layer, mean, {_ESTIMATE.format(n="keys")}, lower_quartile, median, upper_quartile
    FROM syntax_layers ORDER BY measure, layer"""  # noqa: S608 - our own columns
_TRENDS = f"""
    SELECT measure, difference, {_ESTIMATE.format(n="keys")}
    FROM syntax_trends ORDER BY measure"""  # noqa: S608
_VALUES = f"""
    SELECT value, layer, share, {_ESTIMATE.format(n="triggers")}, base, lift, keys, significant
    FROM syntax_layer_values WHERE aspect = ? ORDER BY value, layer"""  # noqa: S608
_BASE = """
    SELECT value, language, share, low, high, tokens FROM syntax_base
    WHERE aspect = ? ORDER BY value, language"""
_KEY = f'SELECT "index", {select(KEY_MEASURES)} FROM syntax_keys WHERE {BLOCK}'  # noqa: S608
_PROFILE = f"""
    SELECT "index", aspect, value, triggers, share, base, lift, sample_share, q, distinct_q FROM syntax_profiles
    WHERE {BLOCK} ORDER BY aspect, rank"""  # noqa: S608
_EXTREMES = """
    SELECT layer, "index", stack, score, token_id, token_share, drop_last FROM syntax_keys
    WHERE score IS NOT NULL ORDER BY score {order}, layer, "index" LIMIT ?"""
_OF_ROLES = """
    SELECT layer, "index", stack, value, share, base, distinct_q FROM syntax_profiles
    WHERE aspect = ? AND rank = 1 AND distinct_q IS NOT NULL
    ORDER BY distinct_q, share DESC, layer, "index" LIMIT ?"""
_SCORES = """
    SELECT k.layer, k."index", k.stack, k.score FROM syntax_keys k
    JOIN (SELECT unnest(?::INTEGER[]) AS layer, unnest(?::INTEGER[]) AS "index") asked USING (layer, "index")
    WHERE k.score IS NOT NULL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMeasure(Controlled):
    """A mean over a layer's keys, and its spread among them; shares of keys have no spread."""

    lower_quartile: float | None = None
    median: float | None = None
    upper_quartile: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerValue(Controlled):
    """How common a value of an aspect is among the triggers of a layer."""

    base: float
    lift: float | None
    keys: int
    """Keys whose commonest value this is."""
    significant: int
    """Those among them where that is more than a few repeated tokens."""


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One of the commonest values of an aspect among a key's triggers."""

    aspect: str
    value: str
    triggers: int
    share: float
    base: float
    lift: float | None
    sample_share: float | None
    q: float | None
    """For the commonest value only, as the next."""
    distinct_q: float | None


@dataclass(frozen=True, slots=True)
class KeySyntax:
    measures: Statistics
    """By the names of contract.analyses.syntax.KEY_MEASURES."""
    profile: list[ProfileRow]


@dataclass(frozen=True, slots=True)
class ScoredKey:
    """A key with a high or a low score."""

    key: KeyId
    score: float
    token: Token | None
    token_share: float | None
    drop_last: float | None


@dataclass(frozen=True, slots=True)
class RoleKey:
    """A key that a value of an aspect describes well."""

    key: KeyId
    value: str
    share: float
    base: float
    distinct_q: float


def layer_measures(cursor: duckdb.DuckDBPyConnection) -> dict[str, dict[int, LayerMeasure]]:
    """Every measure by layer; empty if the analysis is missing."""
    found: dict[str, dict[int, LayerMeasure]] = defaultdict(dict)
    for measure, layer, *numbers, lower, median, upper in _cleaned(cursor, _LAYERS):
        if numbers[0] is not None:
            spread = {"lower_quartile": lower, "median": median, "upper_quartile": upper}
            found[measure][layer] = LayerMeasure(**_controlled(numbers), **spread)
    return dict(found)


def trends(cursor: duckdb.DuckDBPyConnection) -> dict[str, Controlled]:
    """The mean over the upper half of the layers minus that over the lower half, by measure."""
    found = {measure: numbers for measure, *numbers in _cleaned(cursor, _TRENDS)}
    return {measure: Controlled(**_controlled(numbers)) for measure, numbers in found.items() if numbers[0] is not None}


def layer_values(cursor: duckdb.DuckDBPyConnection, aspect: str) -> dict[str, dict[int, LayerValue]]:
    """How common the values of an aspect are among triggers, by value and layer."""
    found: dict[str, dict[int, LayerValue]] = defaultdict(dict)
    for value, layer, *numbers, base, lift, keys, significant in _cleaned(cursor, _VALUES, [aspect]):
        found[value][layer] = LayerValue(
            **_controlled(numbers), base=base, lift=lift, keys=keys, significant=significant
        )
    return dict(found)


def base_rates(cursor: duckdb.DuckDBPyConnection, aspect: str) -> dict[str, dict[str, Estimate]]:
    """How common the values of an aspect are in the corpus, by value and language."""
    return grouped(rows(cursor, _BASE, [aspect]), keys=1)


def key_syntax(cursor: duckdb.DuckDBPyConnection, blocks: Blocks, key: KeyId) -> KeySyntax | None:
    """The syntax of a key; None if the analysis is missing."""
    found = blocks.rows(cursor, _KEY, key)
    if not found:
        return None
    profile = [ProfileRow(*map(clean, row)) for row in blocks.rows(cursor, _PROFILE, key)]
    return KeySyntax(named(KEY_MEASURES, found[0]), profile)


def scores_by_layer(cursor: duckdb.DuckDBPyConnection) -> dict[int, float]:
    """The mean variety of triggers of each layer, from 0 to 1; empty if the analysis is missing."""
    return {layer: measure.value for layer, measure in layer_measures(cursor).get("score", {}).items()}


def scores(cursor: duckdb.DuckDBPyConnection, keys: Sequence[KeyId]) -> dict[KeyId, float]:
    """The scores of the given keys; keys without one are left out."""
    asked = [[key.layer for key in keys], [key.index for key in keys]]
    return {KeyId(*key): score for *key, score in rows(cursor, _SCORES, asked)}


def extreme_keys(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int, highest: bool
) -> list[ScoredKey]:
    """The keys with the highest scores, or the lowest."""
    found = rows(cursor, _EXTREMES.format(order="DESC" if highest else "ASC"), [limit])
    return [
        ScoredKey(KeyId(*key), score, None if token is None else vocabulary[token], clean(share), clean(last))
        for *key, score, token, share, last in found
    ]


def described_keys(cursor: duckdb.DuckDBPyConnection, aspect: str, limit: int) -> list[RoleKey]:
    """The keys best described by their commonest value of an aspect."""
    return [RoleKey(KeyId(*row[:3]), *row[3:]) for row in rows(cursor, _OF_ROLES, [aspect, limit])]


def _cleaned(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[list[Any]]:
    return [[clean(value) for value in row] for row in rows(cursor, sql, parameters)]


def _controlled(numbers: Sequence[Any]) -> dict[str, Any]:
    """The fields of a `Controlled` from value, low, high, n, control, control_low and control_high."""
    value, low, high, n, control, control_low, control_high = numbers
    by_chance = None if control is None else Estimate(control, control_low, control_high)
    return {"value": value, "low": low, "high": high, "n": n, "control": by_chance}
