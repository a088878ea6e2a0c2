"""Rows of keys, read for a block of adjacent keys at once: DuckDB takes about as long for one of them as for all."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import duckdb

from keyscope.app.queries.recent import Recent
from keyscope.app.queries.values import rows
from keyscope.contract.keys import KeyId

KEYS = 64
"""Keys of a block."""
BLOCK = 'layer = ? AND "index" BETWEEN ? AND ?'
"""The condition of a SELECT on the keys of a block."""

Row = tuple[Any, ...]


class Blocks:
    """The blocks read last: people go from key to key, and a small model has few blocks."""

    def __init__(self, kept: int) -> None:
        self._recent: Recent[tuple[str, int, int], Mapping[int, list[Row]]] = Recent(kept)

    def rows(self, cursor: duckdb.DuckDBPyConnection, sql: str, key: KeyId) -> list[Row]:
        """The rows of a key, in order, by a SELECT of the `index` and more with the condition `BLOCK`, without the index."""
        first = key.index // KEYS * KEYS

        def read(_: object) -> Mapping[int, list[Row]]:
            found: dict[int, list[Row]] = defaultdict(list)
            for index, *row in rows(cursor, sql, [key.layer, first, first + KEYS - 1]):
                found[index].append(tuple(row))
            return dict(found)

        return self._recent.get((sql, key.layer, first), read).get(key.index, [])
