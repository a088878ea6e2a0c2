"""The run as a whole: its layers in numbers, and keys to look at first."""

from dataclasses import dataclass

import duckdb

from keyscope.app.queries.key_rows import KeyRow, key_rows
from keyscope.app.queries.tokens import Vocabulary
from keyscope.app.queries.values import clean, rows

_LAYERS = """
    SELECT layer, count(*), count(*) FILTER (WHERE dead),
        avg(firing_rate), median(firing_rate),
        avg(kurtosis) FILTER (WHERE isfinite(kurtosis)), median(kurtosis) FILTER (WHERE isfinite(kurtosis)),
        median(maximum), sum(contribution) FILTER (WHERE isfinite(contribution))
    FROM keys GROUP BY layer ORDER BY layer"""
_LANGUAGES = """
    SELECT layer, top_language, count(*) / sum(count(*)) OVER (PARTITION BY layer)
    FROM keys WHERE NOT dead AND top_language IS NOT NULL GROUP BY layer, top_language ORDER BY layer, top_language"""
_SPECIFIC = 'WHERE NOT dead AND isfinite(kurtosis) ORDER BY kurtosis DESC, layer, "index" LIMIT ?'
_STRONGEST = 'WHERE isfinite(contribution) ORDER BY contribution DESC, layer, "index" LIMIT ?'


@dataclass(frozen=True, slots=True)
class LayerSummary:
    layer: int
    n_keys: int
    dead: int
    """Keys never above 0 on the whole corpus."""
    languages: dict[str, float]
    """Share of the live keys that fire most often in each language."""
    mean_firing_rate: float | None
    median_firing_rate: float | None
    mean_kurtosis: float | None
    median_kurtosis: float | None
    median_maximum: float | None
    contribution: float | None
    """Sum over the keys of mean |coefficient| times the value's length."""


def layer_summaries(cursor: duckdb.DuckDBPyConnection) -> list[LayerSummary]:
    languages: dict[int, dict[str, float]] = {}
    for layer, language, share in rows(cursor, _LANGUAGES):
        languages.setdefault(layer, {})[language] = share
    summaries = []
    for layer, n_keys, dead, *averages in rows(cursor, _LAYERS):
        summaries.append(LayerSummary(layer, n_keys, dead, languages.get(layer, {}), *map(clean, averages)))
    return summaries


def specific_keys(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int = 10) -> list[KeyRow]:
    """The keys with the highest kurtosis: silent on all but a few tokens."""
    return key_rows(cursor, vocabulary, _SPECIFIC, [limit])


def strongest_keys(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, limit: int = 10) -> list[KeyRow]:
    """The keys that write most on average."""
    return key_rows(cursor, vocabulary, _STRONGEST, [limit])
