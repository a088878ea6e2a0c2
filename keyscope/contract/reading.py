"""Opening files that anybody may have written: they reach nothing else, run nothing, and take bounded time and memory."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from keyscope.contract.tables import MANIFEST, Table

MEMORY = "10%"
"""Share of the machine's memory that each open run may take; queries that need more use the disk."""
SECONDS = 10.0
"""How long opening one file may take: a run with millions of keys takes a fraction of a second."""
DOCUMENT_BYTES = 4 * 2**20
"""Length of the longest manifest that is read; real ones have a few thousand bytes."""
_Config = dict[str, str | bool | int | float | list[str]]
_RESTRICTED: _Config = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": MEMORY,
}
_VIEWS = "SELECT min(view_name) FROM duckdb_views() WHERE database_name = ? AND NOT internal"
_COLUMNS = """
    SELECT schema_name, table_name, column_name, data_type, is_generated OR column_default IS NOT NULL FROM duckdb_columns()
    WHERE database_name = ?"""
_MACROS = """
    SELECT database_name, min(function_name) FROM duckdb_functions() WHERE list_contains($1, database_name) AND NOT internal
    GROUP BY database_name"""
Columns = dict[str, set[str]]
"""The columns of each table of a file, by the table's name."""


class Unusable(ValueError):
    """Why a file cannot be used, as the end of a sentence that has named it."""


def connect_to(files: Sequence[Path], threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A new in-memory database that can attach these files and reach nothing else, its configuration locked."""
    # Each call gets its own instance, so a replaced file or a new analysis can be opened beside its readers.
    config = _RESTRICTED if threads is None else _RESTRICTED | {"threads": threads}
    connection = duckdb.connect(":memory:", config=config)
    try:
        # DuckDB looks for the log of an unfinished write beside each file, or beside what a link leads to
        places = [str(place) for path in files for place in dict.fromkeys((path, path.resolve()))]
        paths = [name for place in places for name in (place, _log_of(place))]
        connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str, tables: Sequence[Table]) -> Columns:
    """Attach a file read-only and check that it has nothing but data, of the types that `tables` declare.

    Macros are left to `find_macros`; read nothing before. Returns the columns found, with the `rowid` that DuckDB gives
    every table.

    Raises:
        Unusable: it has views or other things that compute, or a column of another type.
        duckdb.Error: it is not a DuckDB file.
    """
    connection.execute(f"ATTACH {_quoted(str(path))} AS {name} (READ_ONLY, TYPE duckdb)")
    ((view,),) = connection.execute(_VIEWS, [name]).fetchall()
    if view is not None:
        raise _computes(f"the view {view}")
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind, computed in connection.execute(_COLUMNS, [name]).fetchall():
        if computed:
            raise _computes(f"a computed column in {table}")
        if schema == "main":
            found.setdefault(table, {})[column] = kind
    for declared in tables:
        for each in declared.columns:
            kind = found.get(declared.name, {}).get(each.name, each.type)
            if kind != each.type:
                raise Unusable(f"its column {declared.name}.{each.name} has the type {kind} and not {each.type}")
    return {table: {*types, "rowid"} for table, types in found.items()}


def find_macros(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, Unusable]:
    """The attached files that cannot be used because they contain macros, by name.

    One look at all of them: DuckDB goes through its thousands of functions, which takes longer than attaching a file.
    """
    found = connection.execute(_MACROS, [list(names)]).fetchall()
    return {name: _computes(f"the macro {macro}") for name, macro in found}


def refuse_macros(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Check that an attached file has no macros.

    Raises:
        Unusable: it has one.
    """
    for unusable in find_macros(connection, [name]).values():
        raise unusable


def read_document(connection: duckdb.DuckDBPyConnection, database: str) -> tuple[int, str]:
    """The schema version and the JSON of an attached file's manifest.

    Raises:
        Unusable: there is no manifest, or it is too long.
    """
    # the length decides before the document is passed on
    row = connection.execute(
        f"SELECT schema_version, strlen(document), CASE WHEN strlen(document) <= ? THEN document END "  # noqa: S608 - our own name
        f"FROM {database}.{MANIFEST.name} LIMIT 1",
        [DOCUMENT_BYTES],
    ).fetchone()
    if row is None or row[0] is None or row[1] is None:
        raise Unusable("it has no manifest")
    version, length, document = row
    if document is None:
        raise Unusable(f"its manifest has {length:,} bytes, and at most {DOCUMENT_BYTES:,} are read")
    return version, document


@contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float = SECONDS) -> Iterator[None]:
    """Interrupt what the connection computes in a `with` block after some seconds.

    Raises:
        Unusable: it was interrupted.
    """
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        # again and again: an interrupt ends one statement, and between two it does nothing
        wait = seconds
        while not done.wait(wait):
            late.set()
            connection.interrupt()
            wait = 0.1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except duckdb.InterruptException as error:
        if late.is_set():
            raise Unusable(f"opening it took longer than {seconds:g} seconds") from error
        raise
    finally:
        done.set()
        watcher.join()


def _computes(what: str) -> Unusable:
    return Unusable(f"it contains {what}, and files of Keyscope contain data only")


def _log_of(path: str) -> str:
    # to DuckDB a path is an address, whose query begins at the first question mark
    name, mark, query = path.partition("?")
    return f"{name}.wal{mark}{query}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
