"""Many keys in one statement, each looked up by the index: SQLite finds none for a list of pairs."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, column, values
from sqlalchemy.sql.selectable import CTE

MOST = 200
"""Keys in one statement."""


def wanted_keys(keys: Collection[tuple[int, int]]) -> CTE:
    """Layers and indices as a table to join."""
    named = values(column("layer", Integer), column("key_index", Integer), name="wanted")
    return named.data(list(keys)).cte()


def is_wanted(table: Any, weights_sha256: str, wanted: CTE) -> ColumnElement[bool]:
    """Whether a row is about one of the keys."""
    return and_(
        table.weights_sha256 == weights_sha256,
        table.layer == wanted.c.layer,
        table.key_index == wanted.c.key_index,
    )
