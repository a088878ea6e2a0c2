"""Keys as tables show them: their statistics, their strongest trigger in its line of code, what they promote."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from app.queries.examples import window_texts
from app.queries.keys import STATISTICS, TokenLogit
from app.queries.tokens import Token, Vocabulary
from app.queries.values import Statistics, named, rows, select
from contract.keys import KeyId

PROMOTED = 5
"""Promoted tokens shown beside a key in a table."""
AT_ONCE = 50
"""Keys far apart that one query reads: the time for each grows with the number of the others."""

_TOP_TRIGGERS = """
    SELECT t.layer, t."index", t.language, t.coefficient, t.position, t.line, t."column", f.path, w.token_ids
    FROM (
        SELECT * FROM triggers WHERE ({keys}) AND polarity = 'max' AND rank = 1
        QUALIFY row_number() OVER (PARTITION BY layer, "index" ORDER BY coefficient DESC, language) = 1
    ) t JOIN windows w USING (window_id) JOIN files f USING (file_id)"""
_PROMOTED = """
    SELECT layer, "index", token_id, logit FROM value_tokens
    WHERE ({keys}) AND projection = 'normed' AND direction = 'promoted' AND rank <= {promoted}
    ORDER BY layer, "index", rank"""


@dataclass(frozen=True, slots=True)
class CodeLine:
    """The strongest trigger of a key in its line of code; white space is kept.

    Where the trigger token breaks the line, `after` is what follows on the next one.
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
    """One key as a table shows it."""

    key: KeyId
    statistics: Statistics
    top: CodeLine | None
    """None for a key without triggers."""
    promoted: list[TokenLogit] = field(default_factory=list)


def key_rows(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, clauses: str, values: Sequence[object]
) -> list[KeyRow]:
    """The keys that the clauses of a SELECT choose, in their order, as table rows.

    `clauses` is our own SQL with a `?` for each of `values`.
    """
    found = rows(cursor, f'SELECT layer, "index", {select(STATISTICS)} FROM keys {clauses}', values)  # noqa: S608
    keys = [KeyId(*row[:2]) for row in found]
    tops, promoted = _top_triggers(cursor, vocabulary, keys), _promoted(cursor, vocabulary, keys)
    return [
        KeyRow(key, named(STATISTICS, row[2:]), tops.get(key), promoted.get(key, []))
        for key, row in zip(keys, found, strict=True)
    ]


def rows_of(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, keys: Sequence[KeyId]) -> list[KeyRow]:
    """Keys of the run as table rows, in the order given."""
    found: dict[KeyId, KeyRow] = {}
    for start in range(0, len(keys), AT_ONCE):
        condition, values = _among(keys[start : start + AT_ONCE])
        found |= {row.key: row for row in key_rows(cursor, vocabulary, f"WHERE {condition}", values)}
    return [found[key] for key in keys]


def _among(keys: Sequence[KeyId]) -> tuple[str, list[object]]:
    """A condition that only these keys pass, such that rows of other keys are hardly read.

    Many keys of one layer are read by one scan of the part of the layer they lie in, keys far apart each by their own.
    """
    if len({key.layer for key in keys}) > 1:
        numbers: list[object] = [number for key in keys for number in (key.layer, key.index)]
        return " OR ".join(['layer = ? AND "index" = ?'] * len(keys)), numbers
    indices = [key.index for key in keys]
    condition = 'layer = ? AND "index" BETWEEN ? AND ? AND "index" IN (SELECT unnest(?))'
    return condition, [keys[0].layer, min(indices), max(indices), indices]


def _top_triggers(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, keys: Sequence[KeyId]
) -> dict[KeyId, CodeLine]:
    if not keys:
        return {}
    condition, values = _among(keys)
    found = rows(cursor, _TOP_TRIGGERS.format(keys=condition), values)
    return {KeyId(*row[:2]): _code_line(row[2:], vocabulary) for row in found}


def _promoted(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, keys: Sequence[KeyId]
) -> dict[KeyId, list[TokenLogit]]:
    promoted: dict[KeyId, list[TokenLogit]] = {}
    if keys:
        condition, values = _among(keys)
        for layer, index, token_id, logit in rows(cursor, _PROMOTED.format(keys=condition, promoted=PROMOTED), values):
            promoted.setdefault(KeyId(layer, index), []).append(TokenLogit(vocabulary[token_id], logit))
    return promoted


def _code_line(row: tuple[Any, ...], vocabulary: Vocabulary) -> CodeLine:
    language, coefficient, position, line, column, path, token_ids = row
    first, last = _line_of(position, token_ids, vocabulary)
    texts = window_texts([vocabulary[token_id] for token_id in token_ids[first : last + 1]])
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
    """First and last token that has part of the position's line."""
    first = last = position
    while first > 0 and (first == position or not vocabulary[token_ids[first]].shape[0]):
        first -= 1
    while last + 1 < len(token_ids) and (last == position or not vocabulary[token_ids[last]].shape[0]):
        last += 1
    return first, last
