"""All rows of a run file, for comparing runs."""

from pathlib import Path

import duckdb

from keyscope.contract.runfile import TABLES


def all_rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table except the manifest, in stored order."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            table.name: connection.execute(f"SELECT * FROM {table.name}").fetchall()
            for table in TABLES
            if table.name != "manifest"
        }
