"""Digests of rows: equal for equal rows, whatever file they are in and whenever it was written."""

import hashlib
from collections.abc import Sequence

import duckdb

from keyscope.contract.tables import Table

_ROWS_AT_ONCE = 10_000


def digests(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> dict[str, str]:
    """The sha256 of every table's rows in the order of all their columns, by table."""
    return {table.name: _digest(connection, table) for table in tables}


def _digest(connection: duckdb.DuckDBPyConnection, table: Table) -> str:
    columns = ", ".join(f'"{name}"' for name in table.names)
    # a number as text is the shortest that reads back as itself, so equal texts are equal numbers
    query = f"SELECT CAST(found AS VARCHAR) FROM (SELECT {columns} FROM {table.name}) found ORDER BY ALL"  # noqa: S608 - our own names
    rows, digest = connection.cursor().execute(query), hashlib.sha256(columns.encode())
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        for (text,) in some:
            digest.update(b"\n" + text.encode())
    return digest.hexdigest()
