"""Tables as DuckDB stores them, and publishing a file only when it is complete."""

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from keyscope.contract.errors import KeyscopeError

SUFFIX = ".duckdb"
WRITER_BYTES = 2_000_000_000
"""DuckDB's memory limit while it writes a file."""


class FileExists(KeyscopeError, status=409):
    """A published file of that name already exists."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its DuckDB type and the help text that pages show."""

    name: str
    type: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table; its rows are written in the order of `sorted_by`."""

    name: str
    columns: tuple[Column, ...]
    sorted_by: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def ddl(self, schema: str = "main") -> str:
        columns = ", ".join(f'"{column.name}" {column.type}' for column in self.columns)
        return f"CREATE TABLE {schema}.{self.name} ({columns})"

    def select_from(self, database: str, stored: Mapping[str, Set[str]], stack: str = "L") -> str:
        """A SELECT of exactly these columns from a file that may be older than some of them.

        A column declared after the file was written reads as NULL, a table declared later as empty. `stored` is what
        `stored_columns` found in the file. A table of keys also gets the column `stack`, from the run's manifest.
        """
        there = stored.get(self.name, frozenset())
        columns = ", ".join(_selected(column, there, stack) for column in self.viewed)
        return f"SELECT {columns} FROM {database}.{self.name}" if there else f"SELECT {columns} WHERE false"  # noqa: S608

    @property
    def viewed(self) -> tuple[Column, ...]:
        """The columns of the table as `open_run` shows it: a table of keys has their stack, stored or not."""
        of_keys = set(KEY) <= set(self.columns) and STACK not in self.columns
        return (*self.columns, STACK) if of_keys else self.columns


def _selected(column: Column, stored: Set[str], stack: str) -> str:
    if column == STACK:
        return f"'{stack}' AS stack"
    return f'"{column.name}"' if column.name in stored else f'NULL::{column.type} AS "{column.name}"'


STACK = Column("stack", "VARCHAR", "L; in a run of an encoder–decoder E or D, the stack that the layers are in")
"""A run has the keys of one stack, which its manifest names: views have the column whether a file stores it or not."""
KEY = (Column("layer", "USMALLINT"), Column("index", "UINTEGER"))
"""The columns that name a key."""
MANIFEST = Table("manifest", (Column("schema_version", "UINTEGER"), Column("document", "VARCHAR")), ())
"""One row that identifies a file; `document` is JSON."""


@contextmanager
def publish(path: Path, tables: Sequence[Table], replace: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Create a file: empty tables on entry, published under its final name on a clean exit.

    Everything is written to `NAME.duckdb.part`, which is checkpointed, closed, synced and renamed on exit: a file with
    its final name is complete. After an error the part is removed and nothing else is touched. Readers of a replaced
    file keep the one they opened.

    Raises:
        FileExists: a file of that name exists and `replace` is false.
    """
    if path.exists() and not replace:
        raise FileExists(f"{path} already exists and is never overwritten: move it away to compute it again")
    part = path.with_name(path.name + ".part")
    _remove(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    # without a limit DuckDB caches what it has written until most of the machine's memory is full
    connection = duckdb.connect(str(part), config={"memory_limit": f"{WRITER_BYTES}B"})
    try:
        for each in tables:
            connection.execute(each.ddl())
        yield connection
        connection.execute("CHECKPOINT")
        connection.close()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        connection.close()
        _remove(part)


def _remove(part: Path) -> None:
    for leftover in (part, part.with_name(part.name + ".wal")):
        leftover.unlink(missing_ok=True)
