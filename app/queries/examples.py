"""Triggers and samples of a key: windows of real code with the coefficient at each token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import clean, rows
from keyscope.contract.contexts import context_coefficients
from keyscope.contract.keys import KeyId
from keyscope.contract.token_text import decode

_COLUMNS = (
    'e.language, e.rank, e.coefficient, e.position, e.line, e."column", e.scale, e.context, '
    'w.window_id, w.token_ids, w.start, w.line, w."column", f.source, f.path, f.sha256'
)
_JOINS = "JOIN windows w USING (window_id) JOIN files f USING (file_id)"
_TRIGGERS = f"""
    SELECT {_COLUMNS}, e.polarity, NULL, NULL FROM triggers e {_JOINS}
    WHERE e.layer = ? AND e."index" = ? AND (? IS NULL OR e.language = ?) AND (? IS NULL OR e.polarity = ?)
    ORDER BY e.language, e.polarity, e.rank"""  # noqa: S608 - constants only
_SAMPLES = f"""
    SELECT {_COLUMNS}, NULL, e.band, e.quantile FROM samples e {_JOINS}
    WHERE e.layer = ? AND e."index" = ? AND (? IS NULL OR e.language = ?) AND (? IS NULL OR e.band = ?)
    ORDER BY e.language, e.band, e.rank"""  # noqa: S608 - constants only

_COUNTS = """
    SELECT language, polarity, count(*) FROM triggers WHERE layer = ? AND "index" = ? GROUP BY ALL
    UNION ALL
    SELECT language, band, count(*) FROM samples WHERE layer = ? AND "index" = ? GROUP BY ALL"""


@dataclass(slots=True)  # not frozen: a page makes tens of thousands, and frozen ones are four times as slow
class WindowToken:
    """One token of a window as a page draws it."""

    token: Token
    text: str
    """The token's part of the file's text, with split characters as in `tokens.decode`; empty for a BOS."""
    coefficient: float | None
    """None outside the stored context; exact at the trigger, rounded to float16 beside it."""
    line: int
    """Line of the token's first character in its file, from 1."""
    column: int
    """Column of that character, from 0."""


@dataclass(frozen=True, slots=True)
class Example:
    """One window position of a key: a trigger, or a sample of a band."""

    language: str
    rank: int
    polarity: str | None
    """max or min for a trigger, None for a sample."""
    band: str | None
    """The band of a sample, None for a trigger."""
    quantile: float | None
    """Share of windows with a smaller largest coefficient; samples only."""
    coefficient: float
    source: str
    path: str
    file_sha256: str
    window_id: int
    start: int
    """Index of the window's first token in its file, BOS not counted."""
    line: int
    column: int
    trigger_index: int
    """Index of the trigger token in `tokens`."""
    tokens: list[WindowToken]
    """The whole window, including a leading BOS (whose token is special)."""

    @property
    def offset(self) -> int:
        """Index of the trigger token among the tokens of its file, from 0."""
        return self.start + sum(not token.token.special for token in self.tokens[: self.trigger_index])


def key_triggers(
    cursor: duckdb.DuckDBPyConnection,
    vocabulary: Vocabulary,
    key: KeyId,
    language: str | None = None,
    polarity: str | None = None,
) -> list[Example]:
    """The triggers of a key by language, polarity and rank, or only those of one language or polarity."""
    found = rows(cursor, _TRIGGERS, [key.layer, key.index, language, language, polarity, polarity])
    return [_example(row, vocabulary) for row in found]


def key_samples(
    cursor: duckdb.DuckDBPyConnection,
    vocabulary: Vocabulary,
    key: KeyId,
    language: str | None = None,
    band: str | None = None,
) -> list[Example]:
    """The samples of a key by language, band and rank, or only those of one language or band."""
    found = rows(cursor, _SAMPLES, [key.layer, key.index, language, language, band, band])
    return [_example(row, vocabulary) for row in found]


def example_counts(cursor: duckdb.DuckDBPyConnection, key: KeyId) -> dict[tuple[str, str], int]:
    """Number of examples of a key, by language and polarity or band."""
    found = rows(cursor, _COUNTS, [key.layer, key.index] * 2)
    return {(language, kind): count for language, kind, count in found}


def window_tokens(
    tokens: Sequence[Token], coefficients: Sequence[float | None], line: int, column: int
) -> list[WindowToken]:
    """The tokens of a window that starts at `line` and `column`, each at its own line and column.

    A token that begins inside a character has that character's column.
    """
    begun = column + next((token.shape[2] for token in tokens if not token.special), 0)
    drawn = []
    for token, text, coefficient in zip(tokens, window_texts(tokens), coefficients, strict=True):
        breaks, characters, inside = token.shape
        drawn.append(WindowToken(token, text, coefficient, line, begun - inside))
        line += breaks
        begun = characters if breaks else begun + characters
    return drawn


def window_texts(tokens: Sequence[Token]) -> list[str]:
    """The text of each token of a window; empty for control tokens, which are not in the file."""
    return decode([b"" if token.special else token.bytes for token in tokens])


def _example(row: tuple[Any, ...], vocabulary: Vocabulary) -> Example:
    language, rank, coefficient, position, line, column, scale, context = row[:8]
    window_id, token_ids, start, window_line, window_column, source, path, sha256 = row[8:16]
    polarity, band, quantile = row[16:]
    coefficients = context_coefficients(context, scale, position, len(token_ids))
    coefficients[position] = coefficient
    return Example(
        language=language,
        rank=rank,
        polarity=polarity,
        band=band,
        quantile=clean(quantile),
        coefficient=coefficient,
        source=source,
        path=path,
        file_sha256=sha256,
        window_id=window_id,
        start=start,
        line=line,
        column=column,
        trigger_index=position,
        tokens=window_tokens([vocabulary[i] for i in token_ids], coefficients, window_line, window_column),
    )
