"""Keys as tables show them: statistics, the strongest trigger in its line of code, promoted tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from keyscope.app.queries.keys import STATISTICS, TokenLogit
from keyscope.app.queries.tokens import Token, Vocabulary
from keyscope.app.queries.values import Statistics, named, rows, select
from keyscope.contract.keys import KeyId

_AMONG = 'SEMI JOIN (SELECT unnest(?::USMALLINT[]) AS layer, unnest(?::UINTEGER[]) AS "index") USING (layer, "index")'
"""Keeps the keys with the given layers and indices."""
_ROWS = f"WHERE rowid IN (SELECT rowid FROM run.keys {_AMONG})"  # noqa: S608 - constants only
"""The same, scanning only the two name columns first; other columns are then read for the chosen rows alone."""
_SUMMARIES = f"""
    WITH s AS (SELECT * FROM key_summaries {_AMONG}), w AS (
        SELECT window_id, file_id, token_ids FROM run.windows
        WHERE rowid IN (SELECT rowid FROM run.windows SEMI JOIN s USING (window_id)))
    SELECT s.layer, s."index", s.stack, s.promoted, s.logits,
        s.language, s.coefficient, s.position, s.line, s."column", f.path, w.token_ids
    FROM s LEFT JOIN w USING (window_id) LEFT JOIN files f USING (file_id)"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class CodeLine:
    """The strongest trigger of a key in its line of code; white space is kept.

    If the trigger token breaks the line, `after` is from the next line.
    """

    language: str
    coefficient: float
    path: str
    line: int
    column: int
    token: Token
    before: str
    text: str
    """The trigger token's part of the line."""
    after: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    key: KeyId
    statistics: Statistics
    top: CodeLine | None
    """None for a key without triggers."""
    promoted: list[TokenLogit] = field(default_factory=list)


def key_rows(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, clauses: str, values: Sequence[object]
) -> list[KeyRow]:
    """The keys that the clauses of a SELECT choose, in that order, as table rows.

    `clauses` is trusted SQL with a `?` for each of `values`.
    """
    found = rows(cursor, f'SELECT layer, "index", stack, {select(STATISTICS)} FROM run.keys {clauses}', values)  # noqa: S608
    keys = [KeyId(*row[:3]) for row in found]
    summaries = {KeyId(*row[:3]): row[3:] for row in rows(cursor, _SUMMARIES, _names(keys))}
    return [
        _key_row(key, named(STATISTICS, row[3:]), summaries[key], vocabulary)
        for key, row in zip(keys, found, strict=True)
    ]


def rows_of(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, keys: Sequence[KeyId]) -> list[KeyRow]:
    """Keys of the run as table rows, in the order given; those of another stack are left out."""
    found = {row.key: row for row in key_rows(cursor, vocabulary, _ROWS, _names(keys))}
    return [found[key] for key in keys if key in found]


def _names(keys: Sequence[KeyId]) -> list[object]:
    return [[key.layer for key in keys], [key.index for key in keys]]


def _key_row(key: KeyId, statistics: Statistics, summary: tuple[Any, ...], vocabulary: Vocabulary) -> KeyRow:
    promoted, logits, *top = summary
    return KeyRow(
        key,
        statistics,
        None if top[0] is None else _code_line(tuple(top), vocabulary),
        [TokenLogit(vocabulary[token_id], logit) for token_id, logit in zip(promoted or [], logits or [], strict=True)],
    )


def _code_line(row: tuple[Any, ...], vocabulary: Vocabulary) -> CodeLine:
    language, coefficient, position, line, column, path, token_ids = row
    first, last = _line_of(position, token_ids, vocabulary)
    texts = vocabulary.decode(token_ids[first : last + 1])
    at = position - first
    return CodeLine(
        language=language,
        coefficient=coefficient,
        path=path,
        line=line,
        column=column,
        token=vocabulary[token_ids[position]],
        before="".join(texts[:at]).rpartition("\n")[2],
        text=texts[at],
        after="".join(texts[at + 1 :]).partition("\n")[0],
    )


def _line_of(position: int, token_ids: list[int], vocabulary: Vocabulary) -> tuple[int, int]:
    """First and last token with a part of the line at `position`."""
    first = last = position
    while first > 0 and (first == position or not vocabulary.breaks(token_ids[first])):
        first -= 1
    while last + 1 < len(token_ids) and (last == position or not vocabulary.breaks(token_ids[last])):
        last += 1
    return first, last
