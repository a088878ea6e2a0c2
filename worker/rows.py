"""Rows given as columns, appended to a table of DuckDB."""

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract.tables import Table

Array = npt.NDArray[Any]
Columns = dict[str, "Array | pa.Array"]
"""Columns of equal length by name; NaN stands for no value."""


def insert(connection: duckdb.DuckDBPyConnection, table: Table, *parts: Columns, order: tuple[str, ...] = ()) -> None:
    """Append rows, in the given order over all parts; columns left out are null, and so is NaN."""
    batch = pa.concat_tables([pa.table({key: _nullable(column) for key, column in part.items()}) for part in parts])
    names = [column for column in table.names if column in parts[0]]
    quoted = ", ".join(f'"{column}"' for column in names)
    by = ", ".join(f'"{part}"' for part in order)
    ordered = f" ORDER BY {by}" if by else ""
    connection.register("batch", batch)
    connection.execute(f"INSERT INTO {table.name} ({quoted}) SELECT {quoted} FROM batch{ordered}")  # noqa: S608
    connection.unregister("batch")


def _nullable(column: Array | pa.Array) -> pa.Array:
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        return pa.array(column, mask=np.isnan(column))
    return column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)
