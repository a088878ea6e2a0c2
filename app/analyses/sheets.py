"""Tables of analyses as sheets to export."""

from typing import Any

import duckdb

from keyscope.app.errors import NotFound
from keyscope.app.queries.values import clean, rows
from keyscope.app.runs import Run
from keyscope.app.table_files import Sheet
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.tables import Table


class UnknownTable(NotFound):
    """No kind of analysis has a table of that name."""

    code = "unknown_table"


class NotComputed(NotFound):
    """The run does not have the analysis yet."""

    code = "not_computed"


def check_computed(run: Run, kind: str) -> None:
    """Check that a run has an analysis of a kind.

    Raises:
        NotComputed: it does not.
    """
    if not any(found == kind for found, _part in run.analyses):
        raise NotComputed(
            f"{run.run_id} has no analysis {kind} yet: compute it with `keyscope analyse {run.run_id}.duckdb {kind}`"
        )


def analysis_sheet(run: Run, cursor: duckdb.DuckDBPyConnection, name: str) -> Sheet:
    """A whole table of an analysis; it has no rows if nothing was found.

    Raises:
        UnknownTable: no analysis has such a table.
        NotComputed: the run does not have the analysis.
    """
    tables = {table.name: (kind, table) for kind, tables in KINDS.items() for table in tables}
    if name not in tables:
        raise UnknownTable(f"there is no table {name!r}: analyses have {', '.join(tables)}")
    kind, table = tables[name]
    check_computed(run, kind)
    columns = {column.name: column.type for column in table.columns}
    return Sheet(f"{run.run_id}-{name}", columns, _rows(cursor, table))


def _rows(cursor: duckdb.DuckDBPyConnection, table: Table) -> list[list[Any]]:
    order = ", ".join(f'"{name}"' for name in table.sorted_by)
    ordered = f" ORDER BY {order}" if order else ""
    found = rows(cursor, f"SELECT * FROM {table.name}{ordered}")  # noqa: S608 - our own names
    return [[clean(value) for value in row] for row in found]
