"""Numbers of one key: statistics, histograms, the tokens it fires on and those its value promotes or suppresses."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from keyscope.app.queries.blocks import BLOCK, Blocks
from keyscope.app.queries.examples import TriggerToken, example_counts, trigger_tokens
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import Statistics, named, rows, select
from keyscope.contract.key_documents import BadDocument, FirstTrigger, KeyDocument
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import KEY_STATISTICS, MOMENTS, WEIGHT_STATISTICS
from keyscope.contract.tables import Column

STATISTICS = WEIGHT_STATISTICS + MOMENTS + KEY_STATISTICS
_OF_KEY = 'WHERE layer = ? AND "index" = ?'
_DOCUMENT = f'SELECT "index", document FROM key_documents WHERE {BLOCK}'  # noqa: S608 - constants only
_STATISTICS = f"SELECT {select(STATISTICS)} FROM keys {_OF_KEY}"  # noqa: S608 - constants only
_LANGUAGES = f"SELECT language, {select(MOMENTS)} FROM language_statistics {_OF_KEY} ORDER BY language"  # noqa: S608
_HISTOGRAMS = f"SELECT language, tokens, windows FROM histograms {_OF_KEY} ORDER BY language"  # noqa: S608
_FIRES_ON = f'SELECT token_id, "count" FROM fires_on {_OF_KEY} ORDER BY rank'  # noqa: S608
_VALUE_TOKENS = f"""
    SELECT projection, direction, token_id, logit FROM value_tokens {_OF_KEY}
    ORDER BY projection, direction, rank"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class LanguageStatistics:
    """The statistics of a key over the tokens of one language."""

    language: str
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Histogram:
    """Coefficients of one language per bin of `keyscope.contract.bins`."""

    language: str
    tokens: list[int]
    """Sampled tokens per bin."""
    windows: list[int]
    """Windows by the bin of their largest coefficient."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A token and how often it occurs among the stored triggers and samples."""

    token: Token
    count: int


@dataclass(frozen=True, slots=True)
class TokenLogit:
    """A token and what the value adds to its logit per unit of coefficient."""

    token: Token
    logit: float


@dataclass(frozen=True, slots=True)
class ValueTokens:
    """The tokens that a value promotes and suppresses, the strongest first."""

    promoted: list[TokenLogit] = field(default_factory=list)
    suppressed: list[TokenLogit] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KeyNumbers:
    """Everything a run file has about a key but its examples, of which it may have the first."""

    statistics: Statistics
    by_language: list[LanguageStatistics]
    histograms: list[Histogram]
    fires_on: list[TokenCount]
    value: dict[str, ValueTokens]
    """By projection."""
    counts: Counter[tuple[str, str]]
    """Number of examples, by language and polarity or band."""
    trigger_tokens: list[TriggerToken]
    """Of all languages and polarities, the strongest first."""
    first: list[FirstTrigger] | None = field(default=None, compare=False)
    """The first triggers of all languages together; None if they have to be read from the table."""


def key_numbers(cursor: duckdb.DuckDBPyConnection, documents: Blocks, vocabulary: Vocabulary, key: KeyId) -> KeyNumbers:
    """All numbers of a key: from its document in a run that has them, else by one lookup for each table."""
    stored = documents.rows(cursor, _DOCUMENT, key)
    try:
        return _of_document(KeyDocument.unpack(stored[0][0]), vocabulary)
    except (IndexError, BadDocument):
        return numbers_of_tables(cursor, vocabulary, key)


def numbers_of_tables(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, key: KeyId) -> KeyNumbers:
    """All numbers of a key, each from the table that has it."""
    return KeyNumbers(
        statistics=key_statistics(cursor, key),
        by_language=language_statistics(cursor, key),
        histograms=histograms(cursor, key),
        fires_on=fires_on(cursor, vocabulary, key),
        value=value_tokens(cursor, vocabulary, key),
        counts=example_counts(cursor, key),
        trigger_tokens=trigger_tokens(cursor, key),
    )


def _of_document(document: KeyDocument, vocabulary: Vocabulary) -> KeyNumbers:
    return KeyNumbers(
        statistics=_declared(STATISTICS, document.statistics),
        by_language=[LanguageStatistics(name, _declared(MOMENTS, each)) for name, each in document.by_language],
        histograms=[Histogram(*each) for each in document.histograms],
        fires_on=[TokenCount(vocabulary[token_id], count) for token_id, count in document.fires_on],
        value=_value_tokens(
            vocabulary,
            (
                (projection, direction, *each)
                for projection, direction, listed in document.value_tokens
                for each in listed
            ),
        ),
        counts=Counter({(language, kind): count for language, kind, count in document.examples}),
        trigger_tokens=[TriggerToken(*each) for each in document.trigger_tokens],
        first=document.first,
    )


def _declared(columns: Iterable[Column], stored: Statistics) -> Statistics:
    """The statistics of today's contract; None for one that a document is older than."""
    return {column.name: stored.get(column.name) for column in columns}


def key_statistics(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> Statistics:
    """Every statistic of a key by column name; empty if the run has no such key."""
    found = rows(cursor, _STATISTICS, [key.layer, key.index])
    return named(STATISTICS, found[0]) if found else {}


def language_statistics(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> list[LanguageStatistics]:
    found = rows(cursor, _LANGUAGES, [key.layer, key.index])
    return [LanguageStatistics(row[0], named(MOMENTS, row[1:])) for row in found]


def histograms(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> list[Histogram]:
    return [Histogram(*row) for row in rows(cursor, _HISTOGRAMS, [key.layer, key.index])]


def fires_on(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, key: KeyId) -> list[TokenCount]:
    """The tokens a key fires on, the commonest first."""
    found = rows(cursor, _FIRES_ON, [key.layer, key.index])
    return [TokenCount(vocabulary[token_id], count) for token_id, count in found]


def value_tokens(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, key: KeyId) -> dict[str, ValueTokens]:
    """What the value of a key promotes and suppresses, by projection: `normed` (through the final norm's gain) and `raw`."""
    return _value_tokens(vocabulary, rows(cursor, _VALUE_TOKENS, [key.layer, key.index]))


def _value_tokens(vocabulary: Vocabulary, found: Iterable[tuple[Any, ...]]) -> dict[str, ValueTokens]:
    projections = {"normed": ValueTokens(), "raw": ValueTokens()}
    for projection, direction, token_id, logit in found:
        side = projections[projection].promoted if direction == "promoted" else projections[projection].suppressed
        side.append(TokenLogit(vocabulary[token_id], logit))
    return projections
