"""The twin's tables under the run's own names, so that every query can be asked of both."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from keyscope.contract.manifest import Manifest
from keyscope.contract.runfile import read_twin
from keyscope.contract.twin import TWIN


@contextmanager
def twin_of(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[duckdb.DuckDBPyConnection, Manifest] | None]:
    """A cursor on the twin of a run, and the twin's manifest; None if it has none. What it lacks is empty."""
    manifest = read_twin(cursor)
    if manifest is None:
        yield None
        return
    with cursor.cursor() as found:
        found.execute(f"USE memory.{TWIN}")
        yield found, manifest
