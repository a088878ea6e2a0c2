"""Turns DuckDB's values into what pages and JSON can take."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from keyscope.contract.tables import Column

Value = float | int | str | bool | None
Statistics = dict[str, Value]
"""Column name of the contract → value; None if missing."""


def clean(value: Any) -> Any:
    """The value; None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def named(columns: Iterable[Column], values: Sequence[Any]) -> Statistics:
    """The values of one row by column name."""
    return {column.name: clean(value) for column, value in zip(columns, values, strict=True)}


def select(columns: Iterable[Column], table: str = "") -> str:
    """The columns for a SELECT; names come from the contract, never from a request."""
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{column.name}"' for column in columns)


def without_nan(column: str) -> str:
    """A column of floats with NULL for NaN, which DuckDB would sort above every number."""
    return f"nullif({column}, 'NaN'::FLOAT)"


def rows(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """All rows of one SELECT."""
    return cursor.execute(sql, parameters).fetchall()
