"""Rows given as columns, appended to a table of DuckDB."""

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.tables import Table

Array = npt.NDArray[Any]
Columns = dict[str, "Array | pa.Array"]
"""Columns of equal length by name; NaN means no value."""


class UnknownColumn(KeyscopeError, status=500):
    """Rows have a column that their table does not declare."""


def insert(connection: duckdb.DuckDBPyConnection, table: Table, *parts: Columns, order: tuple[str, ...] = ()) -> None:
    """Append rows, sorted by `order` over all parts; a column left out is NULL, and so is NaN.

    Raises:
        UnknownColumn: a part has a column that the table does not; dropping it would lose data without a word.
    """
    for part in parts:
        if unknown := part.keys() - set(table.names):
            raise UnknownColumn(
                f"the table {table.name} has no column {', '.join(sorted(unknown))}: declare it in contract/"
            )
    batch = pa.concat_tables([pa.table({name: _nullable(column) for name, column in part.items()}) for part in parts])
    names = ", ".join(f'"{name}"' for name in batch.column_names)
    by = ", ".join(f'"{name}"' for name in order)
    connection.register("batch", batch)
    connection.execute(f"INSERT INTO {table.name} ({names}) SELECT {names} FROM batch{f' ORDER BY {by}' if by else ''}")  # noqa: S608
    connection.unregister("batch")


def _nullable(column: Array | pa.Array) -> pa.Array:
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        return pa.array(column, mask=np.isnan(column))
    return column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)
