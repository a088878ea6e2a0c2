"""Files under the name of a run or an analysis that are none, each wrong in its own way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

ENDLESS = "(SELECT count(*)::VARCHAR FROM range(100000000000))"


def with_document(change: Callable[[dict[str, Any]], object]) -> Callable[[duckdb.DuckDBPyConnection], object]:
    """A change of the manifest's JSON."""

    def apply(connection: duckdb.DuckDBPyConnection) -> None:
        ((text,),) = connection.execute("SELECT document FROM manifest").fetchall()
        document = json.loads(text)
        change(document)
        connection.execute("UPDATE manifest SET document = ?", [json.dumps(document)])

    return apply


def _sql(*statements: str) -> Callable[[duckdb.DuckDBPyConnection], object]:
    return lambda connection: [connection.execute(each) for each in statements]


def _manifest_view(document: str) -> Callable[[duckdb.DuckDBPyConnection], object]:
    return _sql("DROP TABLE manifest", f"CREATE VIEW manifest AS SELECT 1 AS schema_version, {document} AS document")


OF_ANY_FILE = {
    "unknown-field": with_document(lambda document: document.update(from_the_future=1)),
    "empty-object": _sql("UPDATE manifest SET document = '{}'"),
    "null": _sql("UPDATE manifest SET document = NULL"),
    "not-json": _sql("UPDATE manifest SET document = 'x'"),
    "no-row": _sql("DELETE FROM manifest"),
    "long": _sql("UPDATE manifest SET document = repeat('x', 50000000)"),
    "reads-a-file": _manifest_view("(SELECT content FROM read_text('/etc/hostname'))"),
    "endless": _manifest_view(ENDLESS),
    "macro": _sql("CREATE MACRO sum(x) AS 1"),
    "default": _sql("ALTER TABLE manifest ALTER document SET DEFAULT 'x'"),
    "other-type": _sql("ALTER TABLE manifest ALTER schema_version TYPE VARCHAR"),
    "no-manifest": _sql("DROP TABLE manifest"),
}
"""What spoils both kinds of files, by name."""
OF_A_RUN = OF_ANY_FILE | {
    "view": _sql("DROP TABLE files", f"CREATE VIEW files AS SELECT {ENDLESS} AS file_id"),
    "computed": _sql(
        "DROP TABLE files",
        "CREATE TABLE files (file_id UINTEGER, path VARCHAR AS (repeat('x', 1000000000)))",
    ),
    "other-column-type": _sql("ALTER TABLE files ALTER file_id TYPE VARCHAR"),
    "many-layers": with_document(lambda document: document["model"].update(keys_per_layer=[1] * 1_000_000)),
    "many-keys": with_document(lambda document: document["model"]["keys_per_layer"].__setitem__(0, 10**12)),
    "wrong-layers": with_document(lambda document: document["model"].update(n_layers=99)),
    "infinite": with_document(lambda document: document["verification"].update(largest_error=float("inf"))),
    "negative": with_document(lambda document: document["corpus"]["languages"][0].update(files=-1)),
    "no-zone": with_document(lambda document: document["provenance"].update(started="2024-01-01T00:00:00")),
}
"""What spoils a run file, by name."""


def spoil(path: Path, change: Callable[[duckdb.DuckDBPyConnection], object]) -> Path:
    """Change a file in place."""
    with duckdb.connect(str(path)) as connection:
        change(connection)
    return path
