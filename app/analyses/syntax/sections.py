"""The sections of the page of syntax, in order."""

from collections.abc import Iterator

import duckdb

from keyscope.app.analyses.syntax import keys, layers, values
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import keys_of_kind
from keyscope.app.queries.syntax import layer_measures, trends
from keyscope.app.runs import Run
from keyscope.app.web.sections import Block
from keyscope.contract.keys import KeyId


def sections(run: Run, cursor: duckdb.DuckDBPyConnection, database: Database) -> Iterator[Block]:
    """All sections of a run for which the analysis was computed."""
    found = layers.Measures(layer_measures(cursor), trends(cursor))
    yield layers.score(found)
    yield from keys.people(cursor, _labelled(database, run))
    yield layers.locality(found)
    yield layers.concentration(found)
    yield values.roles(cursor)
    yield layers.families(found)
    yield values.nodes(cursor)
    yield keys.described(cursor)
    yield keys.extremes(cursor, run.vocabulary, highest=False)
    yield keys.extremes(cursor, run.vocabulary, highest=True)
    yield values.base(cursor, run.manifest.languages)


def _labelled(database: Database, run: Run) -> dict[Kind, list[KeyId]]:
    """The keys that people labelled, by kind; none if the labels cannot be read."""
    weights = run.manifest.model.weights_sha256
    try:
        return database.read(lambda session: {kind: keys_of_kind(session, weights, kind) for kind in Kind})
    except DatabaseUnavailable:
        return {}
