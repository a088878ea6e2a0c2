"""Reads the concepts of a run: their matches, the keys that detect them, and what chance gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import duckdb

from keyscope.app.queries.blocks import BLOCK, Blocks
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.layers import Order
from keyscope.app.queries.values import Statistics, clean, named, rows, select, without_nan
from keyscope.contract.analyses.concepts import AUROC_LEVELS, KEY_SCORES, PICKERS
from keyscope.contract.keys import KeyId

Picker = Literal["any_hit", "fdr", "auroc", "auroc_before", "causal"]
assert get_args(Picker) == PICKERS

_SUMMARIES = """
    WITH places AS (
        SELECT concept, sum(matches) AS matches, sum(files) AS files, sum(files_with) AS files_with,
            sum(tokens) AS tokens, sum(concept_tokens) AS concept_tokens
        FROM concept_languages GROUP BY concept
    ), found AS (
        SELECT concept, control, sum(keys) AS keys, sum(any_hit) AS any_hit, sum(expected) AS expected,
            sum(expected_low) AS expected_low, sum(expected_high) AS expected_high, sum(significant) AS significant,
            sum(above_random) AS above_random,
            sum(auroc_80) AS auroc_80, sum(layer * significant) / nullif(sum(significant), 0) AS depth
        FROM concept_layers GROUP BY concept, control
    )
    SELECT c.concept AS part, c.name, c.title, p.matches, p.files, p.files_with, p.tokens, p.concept_tokens,
        c.sites, c.held_out_files, c.held_out_sites, c.causal_windows, c.causal_sites, c.alpha,
        f.keys, f.any_hit, f.expected, f.expected_low, f.expected_high, f.significant, f.above_random, f.auroc_80, f.depth, c.against,
        s.any_hit AS control_any_hit, s.significant AS control_significant, s.auroc_80 AS control_auroc_80
    FROM concepts c JOIN places p USING (concept)
        JOIN found f ON f.concept = c.concept AND NOT f.control
        JOIN found s ON s.concept = c.concept AND s.control
    ORDER BY c.concept"""
_LANGUAGES = """
    SELECT language, files, files_with, matches, tokens, concept_tokens, base_rate, base_rate_low, base_rate_high, projects
    FROM concept_languages WHERE concept = ? ORDER BY language"""
_LAYERS = f"""
    SELECT control, layer, keys, any_hit, expected, expected_low, expected_high, significant, above_random,
        {", ".join(f"auroc_{level}" for level in AUROC_LEVELS)}, triggers, hit_share, hit_share_low, hit_share_high,
        chance_share, chance_share_low, chance_share_high, files, projects
    FROM concept_layers WHERE concept = ? ORDER BY control, layer"""  # noqa: S608 - constants only
_EXAMPLES = """
    SELECT language, source, path, line, before, match, after FROM concept_examples
    WHERE concept = ? ORDER BY language, rank"""
_FLOATS = {column.name for column in KEY_SCORES if column.type in ("FLOAT", "DOUBLE")}
SORTS = tuple(column.name for column in KEY_SCORES)
"""What the keys of a concept can be sorted by."""
ASCENDING = {"p", "q", "distinct_q", "twin_q", *(f"rank_{picker}" for picker in PICKERS)}
"""Those where less is better."""
WORTH_SAYING = 0.9
"""AUROC from which a key's page names a concept even if its triggers do not show it."""
_OF_KEY = f"""
    SELECT "index", c.concept, c.name, c.title, {select(KEY_SCORES, "k")}
    FROM (SELECT * FROM concept_keys WHERE {BLOCK} AND (significant OR auroc >= {WORTH_SAYING})) k
        JOIN concepts c USING (concept)
    ORDER BY k.q, k.auroc DESC"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ConceptSummary:
    """A concept in numbers, over all languages and layers; on files that are not held out unless noted."""

    part: str
    """The concept's name and the start of its definition's sha256."""
    name: str
    title: str
    matches: int
    files: int
    files_with: int
    tokens: int
    concept_tokens: int
    sites: int
    held_out_files: int
    held_out_sites: int
    causal_windows: int
    causal_sites: int
    alpha: float
    keys: int
    any_hit: int
    expected: float
    expected_low: float
    expected_high: float
    significant: int
    above_random: int | None
    """Keys with more hits than random tokens have; None in older files."""
    auroc_80: int
    depth: float | None
    """Mean layer of the significant keys; None without any."""
    against: str | None
    """What significant keys are held against: twin or distinct tokens; None in older files, which took random tokens."""
    control_any_hit: int
    """The same for a shuffled copy of the concept."""
    control_significant: int
    control_auroc_80: int


@dataclass(frozen=True, slots=True)
class ConceptLanguage:
    language: str
    files: int
    files_with: int
    matches: int
    tokens: int
    concept_tokens: int
    base_rate: Estimate | None
    """Share of tokens with a match within two lines."""


@dataclass(frozen=True, slots=True)
class ConceptLayer:
    layer: int
    keys: int
    any_hit: int
    expected: Estimate
    """Keys with any hit by chance, and the range of that."""
    significant: int
    above_random: int | None
    auroc: Mapping[int, int]
    """Keys above each level, in per cent."""
    triggers: int
    hit_share: Estimate | None
    """Share of triggers with a hit."""
    chance_share: Estimate | None
    """The same by chance."""


@dataclass(frozen=True, slots=True)
class ConceptExample:
    language: str
    source: str
    path: str
    line: int
    before: str
    match: str
    after: str


@dataclass(frozen=True, slots=True)
class ConceptKey:
    key: KeyId
    scores: Statistics


@dataclass(frozen=True, slots=True)
class KeyConcept:
    part: str
    name: str
    title: str
    scores: Statistics


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of their first keys two pickers share."""

    one: str
    other: str
    shared: int
    of: int
    """Keys of the picker that has fewer."""


def concept_summaries(cursor: duckdb.DuckDBPyConnection) -> dict[str, ConceptSummary]:
    """Every computed concept by its part: name and start of the definition's sha256."""
    return {record["part"]: ConceptSummary(**record) for record in _records(cursor, _SUMMARIES)}


def concept_languages(cursor: duckdb.DuckDBPyConnection, part: str) -> list[ConceptLanguage]:
    return [_language(record) for record in _records(cursor, _LANGUAGES, [part])]


def concept_layers(cursor: duckdb.DuckDBPyConnection, part: str) -> tuple[list[ConceptLayer], list[ConceptLayer]]:
    """A concept by layer, and its shuffled copy by layer."""
    split: dict[bool, list[ConceptLayer]] = {False: [], True: []}
    for record in _records(cursor, _LAYERS, [part]):
        auroc = {level: record.pop(f"auroc_{level}") for level in AUROC_LEVELS}
        rests_on = record.pop("files"), record.pop("projects")
        estimates: dict[str, Any] = {
            "expected": _taken(record, "expected", record["keys"]),
            "hit_share": _taken(record, "hit_share", record["triggers"], *rests_on),
            "chance_share": _taken(record, "chance_share", record["triggers"], *rests_on),
        }
        split[record.pop("control")].append(ConceptLayer(**record, **estimates, auroc=auroc))
    return split[False], split[True]


def concept_examples(cursor: duckdb.DuckDBPyConnection, part: str) -> list[ConceptExample]:
    """Some matches in their code, by language."""
    return [ConceptExample(*row) for row in rows(cursor, _EXAMPLES, [part])]


def concept_keys(
    cursor: duckdb.DuckDBPyConnection, part: str, sort: str, order: Order, limit: int, offset: int = 0
) -> list[ConceptKey]:
    """Stored keys of a concept, sorted by one of `SORTS`; keys without that score come last."""
    assert sort in SORTS
    column = without_nan(sort) if sort in _FLOATS else sort
    sql = f"""
        SELECT layer, "index", stack, {select(KEY_SCORES)} FROM concept_keys WHERE concept = ?
        ORDER BY {column} {order} NULLS LAST, rank_fdr NULLS LAST, rank_auroc, layer, "index" LIMIT ? OFFSET ?"""  # noqa: S608
    return [ConceptKey(KeyId(*row[:3]), named(KEY_SCORES, row[3:])) for row in rows(cursor, sql, [part, limit, offset])]


def count_concept_keys(cursor: duckdb.DuckDBPyConnection, part: str) -> int:
    """Number of keys stored for a concept."""
    return int(rows(cursor, "SELECT count(*) FROM concept_keys WHERE concept = ?", [part])[0][0])


def first_keys(cursor: duckdb.DuckDBPyConnection, part: str, picker: Picker, n: int) -> list[KeyId]:
    """The first n keys of a picker, or fewer if it finds fewer."""
    assert picker in PICKERS
    sql = f'SELECT layer, "index", stack FROM concept_keys WHERE concept = ? AND rank_{picker} <= ? ORDER BY rank_{picker}'  # noqa: S608
    return [KeyId(*row) for row in rows(cursor, sql, [part, n])]


def overlaps(cursor: duckdb.DuckDBPyConnection, part: str, n: int) -> list[Overlap]:
    """How many of their first `n` keys each pair of pickers shares."""
    chosen = {picker: set(first_keys(cursor, part, picker, n)) for picker in get_args(Picker)}
    pairs = [(one, other) for at, one in enumerate(PICKERS) for other in PICKERS[at + 1 :]]
    return [
        Overlap(one, other, len(chosen[one] & chosen[other]), min(len(chosen[one]), len(chosen[other])))
        for one, other in pairs
    ]


def concepts_of_key(cursor: duckdb.DuckDBPyConnection, blocks: Blocks, key: KeyId) -> list[KeyConcept]:
    """The concepts that a key detects, by its triggers or by a high AUROC."""
    found = blocks.rows(cursor, _OF_KEY, key)
    return [KeyConcept(part, name, title, named(KEY_SCORES, values)) for part, name, title, *values in found]


def _language(record: dict[str, Any]) -> ConceptLanguage:
    base_rate = _taken(record, "base_rate", record["tokens"], record["files"], record.pop("projects"))
    return ConceptLanguage(**record, base_rate=base_rate)


def _taken(
    record: dict[str, Any], name: str, n: int, files: int | None = None, projects: int | None = None
) -> Estimate | None:
    """Take the three columns of an estimate out of a record; None if it has no value."""
    value, low, high = (record.pop(column) for column in (name, f"{name}_low", f"{name}_high"))
    return None if value is None else Estimate(value, low, high, n, files, projects)


def _records(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """All rows of one SELECT, as column name → value."""
    found = cursor.execute(sql, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, map(clean, row), strict=True)) for row in found.fetchall()]
