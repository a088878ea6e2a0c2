"""Reads the analysis of when keys fire: layers with their controls, keys that stand out, and one key."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from keyscope.app.queries.blocks import BLOCK, Blocks
from keyscope.app.queries.estimate import Estimate, grouped
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import Statistics, clean, named, rows, select
from keyscope.contract.analyses.firing import FIRING_KEYS
from keyscope.contract.keys import KeyId
from keyscope.contract.tables import KEY

KEY_COLUMNS = tuple(column for column in FIRING_KEYS.columns if column not in KEY)
"""What is known of a key."""
RANGES = {column.name: column for column in KEY_COLUMNS if column.type in ("FLOAT", "DOUBLE", "UTINYINT")}
"""Those that can be searched by range."""
_LAYERS = """
    SELECT measure, control, part, layer, estimate, low, high, n, files, projects FROM firing_layers
    ORDER BY measure, control, part, layer"""
_GROUPS = """
    SELECT measure, control, part, layers, estimate, low, high, n, files, projects FROM firing_groups
    ORDER BY measure, control, part, layers"""
_KEY = f'SELECT "index", {select(KEY_COLUMNS)} FROM firing_keys WHERE {BLOCK}'  # noqa: S608 - our own names
_KEY_LANGUAGES = f"""
    SELECT "index", f.language, s.firing_rate, f.strong_rate, f.f1
    FROM (SELECT * FROM firing_languages WHERE {BLOCK}) f LEFT JOIN language_statistics s USING (layer, "index", language)
    ORDER BY f.language"""  # noqa: S608
_KEY_POSITIONS = f'SELECT "index", level, rates FROM firing_positions WHERE {BLOCK} ORDER BY level'  # noqa: S608
_KEY_TOKENS = f"""
    SELECT "index", token_id, d.level, occurrences, fired, share
    FROM (SELECT * FROM firing_detectors WHERE {BLOCK}) d JOIN firing_keys USING (layer, "index")
    WHERE d.level = detector_level ORDER BY fired DESC, token_id"""  # noqa: S608
_DETECTORS = """
    SELECT k.layer, k."index", k.stack, k.detector_level, sum(d.fired)::BIGINT, sum(d.share), list(d.token_id ORDER BY d.fired DESC)
    FROM firing_keys k JOIN firing_detectors d ON d.layer = k.layer AND d."index" = k."index" AND d.level = k.detector_level
    GROUP BY ALL ORDER BY k.detector_level, 5 DESC, k.layer, k."index" LIMIT ?"""
_TELLING = """
    SELECT layer, "index", stack, language, f1, threshold, above FROM firing_languages WHERE f1 IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY language ORDER BY f1 DESC, layer, "index") <= ?
    ORDER BY language, f1 DESC, layer, "index\""""
_POSITIONAL = """
    SELECT layer, "index", stack, position_information, position_information_strong, position_shape FROM firing_keys
    ORDER BY greatest(position_information, position_information_strong) DESC, layer, "index" LIMIT ?"""


ByLayer = Mapping[int, Estimate]
ByGroup = Mapping[str, Estimate]
"""By the names in the contract's `GROUPS`; groups in which nothing was counted are left out."""
Which = tuple[str, str, str]
"""Measure, control and part."""


@dataclass(frozen=True, slots=True)
class LanguageRates:
    """How often a key fires in a language, and how well its mean over a file tells the language."""

    language: str
    fires: float | None
    strong: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class DetectedToken:
    token: Token
    level: str
    occurrences: int
    fired: int
    share: float


@dataclass(frozen=True, slots=True)
class KeyFiring:
    columns: Statistics
    languages: list[LanguageRates]
    positions: dict[str, list[float]]
    """Firing rate by bucket of window positions, for each level."""
    tokens: list[DetectedToken]
    """The tokens it detects, at the first level with any."""


@dataclass(frozen=True, slots=True)
class Detector:
    key: KeyId
    level: str
    fired: int
    share: float
    tokens: list[Token]


@dataclass(frozen=True, slots=True)
class Telling:
    """A key whose mean over a file tells a language."""

    key: KeyId
    language: str
    f1: float
    threshold: float | None
    above: bool


@dataclass(frozen=True, slots=True)
class Positional:
    """A key and its information on the window position, in nats."""

    key: KeyId
    fires: float
    strong: float
    shape: str | None
    """None below the threshold."""


def layer_numbers(cursor: duckdb.DuckDBPyConnection) -> dict[Which, ByLayer]:
    """Every measure by layer; empty if the analysis is missing."""
    return {**grouped(rows(cursor, _LAYERS), keys=3)}


def group_numbers(cursor: duckdb.DuckDBPyConnection) -> dict[Which, ByGroup]:
    """The same for groups of layers."""
    return {**grouped(rows(cursor, _GROUPS), keys=3)}


def key_firing(
    cursor: duckdb.DuckDBPyConnection, blocks: Blocks, vocabulary: Vocabulary, key: KeyId
) -> KeyFiring | None:
    """When a key fires; None if the analysis is missing."""
    found = blocks.rows(cursor, _KEY, key)
    if not found:
        return None
    columns = named(KEY_COLUMNS, found[0])
    return KeyFiring(
        columns=columns,
        languages=[LanguageRates(row[0], *map(clean, row[1:])) for row in blocks.rows(cursor, _KEY_LANGUAGES, key)],
        positions=dict(blocks.rows(cursor, _KEY_POSITIONS, key)),
        tokens=[
            DetectedToken(vocabulary[token_id], *rest) for token_id, *rest in blocks.rows(cursor, _KEY_TOKENS, key)
        ],
    )


def detectors(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int) -> list[Detector]:
    """The keys that detect tokens, by level and then by how often they fire."""
    return [
        Detector(KeyId(*key), level, fired, share, [vocabulary[token_id] for token_id in tokens])
        for *key, level, fired, share, tokens in rows(cursor, _DETECTORS, [limit])
    ]


def telling_keys(cursor: duckdb.DuckDBPyConnection, each: int) -> list[Telling]:
    """The best keys at telling each language from the others."""
    return [
        Telling(KeyId(*key), language, f1, clean(threshold), above)
        for *key, language, f1, threshold, above in rows(cursor, _TELLING, [each])
    ]


def positional_keys(cursor: duckdb.DuckDBPyConnection, limit: int) -> list[Positional]:
    """The keys with most information on the window position, whether above the threshold or not."""
    return [
        Positional(KeyId(*key), fires, strong, shape)
        for *key, fires, strong, shape in rows(cursor, _POSITIONAL, [limit])
    ]
