"""The keys of one layer: filtered, sorted, paged, and as a map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb

from app.errors import InvalidParameter
from app.queries.examples import window_texts
from app.queries.keys import STATISTICS, TokenLogit
from app.queries.tokens import Token, Vocabulary, parse_token
from app.queries.values import Statistics, clean, named, rows, select
from contract.keys import KeyId

SORT_COLUMNS = ("index", *(column.name for column in STATISTICS))
"""What a layer can be sorted by."""
PROMOTED = 5
"""Promoted tokens shown beside a key in a table."""
Order = Literal["asc", "desc"]

_FLOATS = {column.name for column in STATISTICS if column.type == "FLOAT"}
_TOP_TRIGGERS = """
    SELECT t."index", t.language, t.coefficient, t.position, t.line, t."column", f.path, w.token_ids
    FROM (
        SELECT * FROM triggers
        WHERE layer = ? AND "index" BETWEEN ? AND ? AND "index" IN (SELECT unnest(?)) AND polarity = 'max' AND rank = 1
        QUALIFY row_number() OVER (PARTITION BY "index" ORDER BY coefficient DESC, language) = 1
    ) t JOIN windows w USING (window_id) JOIN files f USING (file_id)"""
_PROMOTED = """
    SELECT "index", token_id, logit FROM value_tokens
    WHERE layer = ? AND "index" BETWEEN ? AND ? AND "index" IN (SELECT unnest(?))
        AND projection = 'normed' AND direction = 'promoted' AND rank <= ?
    ORDER BY "index", rank"""
_FIRING_ON = """
    SELECT layer, count(DISTINCT "index") FROM fires_on WHERE token_id IN (SELECT unnest(?))
    GROUP BY layer ORDER BY layer"""
_MAP = 'SELECT firing_rate, maximum, top_language FROM keys WHERE layer = ? ORDER BY "index"'


@dataclass(frozen=True, slots=True)
class LayerFilter:
    """Which keys of a layer to list; what is None does not filter."""

    language: str | None = None
    """Language in which the key fires most often."""
    min_firing_rate: float | None = None
    max_firing_rate: float | None = None
    token: str | None = None
    """A token the key fires on, exactly as `tokens.parse_token` reads it."""


@dataclass(frozen=True, slots=True)
class LayerSort:
    """The order of a list of keys; keys without the value come last."""

    column: str = "contribution"
    order: Order = "desc"

    def __post_init__(self) -> None:
        if self.column not in SORT_COLUMNS:
            raise InvalidParameter(f"keys cannot be sorted by {self.column!r}: choose one of {', '.join(SORT_COLUMNS)}")
        if self.order not in ("asc", "desc"):
            raise InvalidParameter(f"{self.order!r} is no order: choose asc or desc")


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


@dataclass(frozen=True, slots=True)
class LayerPage:
    """A page of the keys of a layer."""

    rows: list[KeyRow]
    total: int
    """Keys that pass the filter, on all pages."""
    token_known: bool = True
    """False where the filter's token is none of the tokenizer's, so that nothing can fire on it."""


@dataclass(frozen=True, slots=True)
class LayerMap:
    """Every key of a layer from index 0, column by column, for one drawing."""

    firing_rate: list[float | None]
    maximum: list[float | None]
    top_language: list[str | None]


def layer_page(
    cursor: duckdb.DuckDBPyConnection,
    vocabulary: Vocabulary,
    layer: int,
    where: LayerFilter | None = None,
    sort: LayerSort | None = None,
    limit: int = 100,
    offset: int = 0,
) -> LayerPage:
    """The keys of a layer that pass the filter, in order, from `offset` on."""
    where, sort = where or LayerFilter(), sort or LayerSort()
    token_ids = None if where.token is None else vocabulary.ids(parse_token(where.token))
    condition, values = _condition(layer, where, token_ids)
    total = rows(cursor, f"SELECT count(*) FROM keys WHERE {condition}", values)[0][0]  # noqa: S608 - constants only
    listed = key_rows(cursor, vocabulary, f"WHERE {condition} {_order(sort)}", [*values, limit, offset])
    return LayerPage(listed, total, token_ids is None or bool(token_ids))


def layer_map(cursor: duckdb.DuckDBPyConnection, layer: int) -> LayerMap:
    """Every key of a layer, from index 0."""
    found = rows(cursor, _MAP, [layer])
    return LayerMap(
        firing_rate=[clean(row[0]) for row in found],
        maximum=[clean(row[1]) for row in found],
        top_language=[row[2] for row in found],
    )


def layers_firing_on(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, token: str) -> dict[int, int]:
    """How many keys of each layer fire on a token as `parse_token` reads it; layers without such keys are left out."""
    return dict(rows(cursor, _FIRING_ON, [vocabulary.ids(parse_token(token))]))


def key_rows(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, clauses: str, values: Sequence[object]
) -> list[KeyRow]:
    """The keys that the clauses of a SELECT choose, in their order, as table rows.

    `clauses` is our own SQL with a `?` for each of `values`.
    """
    found = rows(cursor, f'SELECT layer, "index", {select(STATISTICS)} FROM keys {clauses}', values)  # noqa: S608
    keys = [KeyId(*row[:2]) for row in found]
    tops: dict[KeyId, CodeLine] = {}
    promoted: dict[KeyId, list[TokenLogit]] = {}
    for layer in {key.layer for key in keys}:
        indices = [key.index for key in keys if key.layer == layer]
        tops |= _top_triggers(cursor, vocabulary, layer, indices)
        promoted |= _promoted(cursor, vocabulary, layer, indices)
    return [
        KeyRow(key, named(STATISTICS, row[2:]), tops.get(key), promoted.get(key, []))
        for key, row in zip(keys, found, strict=True)
    ]


def _condition(layer: int, where: LayerFilter, token_ids: list[int] | None) -> tuple[str, list[object]]:
    tests: list[tuple[str, object]] = [("layer = ?", layer)]
    if where.language is not None:
        tests.append(("top_language = ?", where.language))
    if where.min_firing_rate is not None:
        tests.append(("firing_rate >= ?", where.min_firing_rate))
    if where.max_firing_rate is not None:
        tests.append(("firing_rate <= ?", where.max_firing_rate))
    condition, values = " AND ".join(test for test, _ in tests), [value for _, value in tests]
    if token_ids is not None:
        fires_on = 'SELECT "index" FROM fires_on WHERE layer = ? AND token_id IN (SELECT unnest(?))'
        condition, values = f'{condition} AND "index" IN ({fires_on})', [*values, layer, token_ids]
    return condition, values


def _order(sort: LayerSort) -> str:
    column = f'"{sort.column}"'
    if sort.column in _FLOATS:
        column = f"nullif({column}, 'NaN'::FLOAT)"
    return f'ORDER BY {column} {sort.order} NULLS LAST, layer, "index" LIMIT ? OFFSET ?'


def _top_triggers(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, layer: int, indices: list[int]
) -> dict[KeyId, CodeLine]:
    found = rows(cursor, _TOP_TRIGGERS, [layer, min(indices), max(indices), indices])
    return {KeyId(layer, row[0]): _code_line(row[1:], vocabulary) for row in found}


def _promoted(
    cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, layer: int, indices: list[int]
) -> dict[KeyId, list[TokenLogit]]:
    promoted: dict[KeyId, list[TokenLogit]] = {}
    for index, token_id, logit in rows(cursor, _PROMOTED, [layer, min(indices), max(indices), indices, PROMOTED]):
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
