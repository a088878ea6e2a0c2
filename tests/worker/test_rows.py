"""Rows appended to tables."""

import duckdb
import numpy as np
import pytest

from keyscope.contract.tables import Column, Table
from keyscope.worker.rows import UnknownColumn, insert

TABLE = Table("things", (Column("number", "INTEGER"), Column("share", "FLOAT"), Column("group", "VARCHAR")), ("group",))


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(TABLE.ddl())
    return connection


def test_columns_are_matched_by_name_and_those_left_out_are_null(connection: duckdb.DuckDBPyConnection) -> None:
    parts = [{"group": np.array([name]), "number": np.array([number])} for name, number in (("b", 1), ("a", 2))]
    insert(connection, TABLE, *parts, order=TABLE.sorted_by)
    assert connection.execute("SELECT * FROM things").fetchall() == [(2, None, "a"), (1, None, "b")]


def test_nan_is_null(connection: duckdb.DuckDBPyConnection) -> None:
    insert(connection, TABLE, {"share": np.array([0.5, np.nan])})
    assert connection.execute("SELECT share FROM things").fetchall() == [(0.5,), (None,)]


def test_a_column_the_table_does_not_declare_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    known, unknown = {"number": np.array([1])}, {"number": np.array([1]), "shrae": np.array([0.5])}
    with pytest.raises(UnknownColumn, match=r"things has no column shrae"):
        insert(connection, TABLE, known, unknown)
    assert connection.execute("SELECT * FROM things").fetchall() == []
