"""The keys of one layer: filtered, sorted and paged, and as a map."""

from dataclasses import dataclass
from typing import Literal

import duckdb

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.key_rows import KeyRow, key_rows
from keyscope.app.queries.keys import STATISTICS
from keyscope.app.queries.tokens import Vocabulary, parse_token
from keyscope.app.queries.values import clean, rows, without_nan

SORT_COLUMNS = ("index", *(column.name for column in STATISTICS))
"""What the keys of a layer can be sorted by."""
Order = Literal["asc", "desc"]

_FLOATS = {column.name for column in STATISTICS if column.type == "FLOAT"}
_FIRING_ON = """
    SELECT layer, count(DISTINCT "index") FROM fires_on WHERE token_id IN (SELECT unnest(?))
    GROUP BY layer ORDER BY layer"""
_MAP = 'SELECT firing_rate, maximum, top_language FROM keys WHERE layer = ? ORDER BY "index"'


@dataclass(frozen=True, slots=True)
class LayerFilter:
    """Which keys of a layer to list; None does not filter."""

    language: str | None = None
    """The language in which a key fires most often."""
    min_firing_rate: float | None = None
    max_firing_rate: float | None = None
    token: str | None = None
    """A token the key fires on, in the notation of `tokens.parse_token`."""


@dataclass(frozen=True, slots=True)
class LayerSort:
    """The order of a list of keys; keys without the value come last."""

    column: str = "contribution"
    order: Order = "desc"

    def __post_init__(self) -> None:
        if self.column not in SORT_COLUMNS:
            raise InvalidParameter(f"keys cannot be sorted by {self.column!r}: choose one of {', '.join(SORT_COLUMNS)}")
        if self.order not in ("asc", "desc"):
            raise InvalidParameter(f"there is no order {self.order!r}: choose asc or desc")


@dataclass(frozen=True, slots=True)
class LayerPage:
    rows: list[KeyRow]
    total: int
    """Keys that pass the filter, on all pages."""
    token_known: bool = True
    """False if the tokenizer has no such token, so no key can fire on it."""


@dataclass(frozen=True, slots=True)
class LayerMap:
    """Every key of a layer from index 0, column by column, for a figure."""

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
    """The keys of a layer that pass the filter, sorted, from `offset` on."""
    where, sort = where or LayerFilter(), sort or LayerSort()
    token_ids = None if where.token is None else vocabulary.ids(parse_token(where.token))
    condition, values = _condition(layer, where, token_ids)
    total = rows(cursor, f"SELECT count(*) FROM keys WHERE {condition}", values)[0][0]  # noqa: S608 - constants only
    listed = key_rows(cursor, vocabulary, f"WHERE {condition} {_order(sort)}", [*values, limit, offset])
    return LayerPage(listed, total, token_ids is None or bool(token_ids))


def layer_map(cursor: duckdb.DuckDBPyConnection, layer: int) -> LayerMap:
    found = rows(cursor, _MAP, [layer])
    return LayerMap(
        firing_rate=[clean(row[0]) for row in found],
        maximum=[clean(row[1]) for row in found],
        top_language=[row[2] for row in found],
    )


def layers_firing_on(cursor: duckdb.DuckDBPyConnection, vocabulary: Vocabulary, token: str) -> dict[int, int]:
    """How many keys of each layer fire on a token in the notation of `parse_token`; layers without any are left out."""
    return dict(rows(cursor, _FIRING_ON, [vocabulary.ids(parse_token(token))]))


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
        column = without_nan(column)
    return f'ORDER BY {column} {sort.order} NULLS LAST, layer, "index" LIMIT ? OFFSET ?'
