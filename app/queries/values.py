"""Values as they come from DuckDB made fit for pages and JSON."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from keyscope.contract.tables import Column

Value = float | int | str | bool | None
Statistics = dict[str, Value]
"""Column name of the contract → value, None where there is none."""


def clean(value: Any) -> Any:
    """The value, None where it is no finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def named(columns: Iterable[Column], values: Sequence[Any]) -> Statistics:
    """The values of one row under the names of their columns."""
    return {column.name: clean(value) for column, value in zip(columns, values, strict=True)}


def select(columns: Iterable[Column], table: str = "") -> str:
    """The columns as they stand in a SELECT; their names come from the contract, never from a request."""
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{column.name}"' for column in columns)


def without_nan(column: str) -> str:
    """A column of floats with NULL for NaN, which DuckDB takes for larger than every number."""
    return f"nullif({column}, 'NaN'::FLOAT)"


def rows(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """All rows of one SELECT."""
    return cursor.execute(sql, parameters).fetchall()
