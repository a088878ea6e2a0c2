"""Everything known about one key."""

import math
from typing import Any

import duckdb
from fastapi import APIRouter

from keyscope.app import queries
from keyscope.app.database.engine import DatabaseUnavailable
from keyscope.app.labels.repository import Target, current_labels
from keyscope.app.runs import Run
from keyscope.app.web import shapes, shaping
from keyscope.app.web.dependencies import Cursor, Key, LabelsDatabase, OpenRun
from keyscope.contract import bins
from keyscope.contract.keys import KeyId

router = APIRouter(tags=["keys"])


@router.get("/runs/{run}/keys/{key}", responses=shapes.OF_A_RUN)
def show_key(run: OpenRun, cursor: Cursor, key: Key, database: LabelsDatabase) -> shapes.KeyAnswer:
    """One key: statistics, triggers, samples, the tokens it fires on, the tokens its value writes, and its labels."""
    labels: list[shapes.LabelShape] = []
    problem = None
    try:
        with database.transaction() as session:
            found = current_labels(session, Target(run.manifest.model.weights_sha256, key))
            labels = [shaping.label(each) for each in found]
    except DatabaseUnavailable as error:
        problem = error.detail
    return shapes.KeyAnswer(
        key=str(key),
        layer=key.layer,
        index=key.index,
        stats=queries.key_statistics(cursor, key),
        stats_by_language={each.language: each.statistics for each in queries.language_statistics(cursor, key)},
        histogram_edges=[edge if math.isfinite(edge) else None for edge in bins.edges()],
        neighbours=_neighbours(run, key),
        labels=labels,
        labels_problem=problem,
        **_examples(run, cursor, key),
        **_tokens(run, cursor, key),
    )


def _examples(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> dict[str, Any]:
    return {
        "triggers": [shaping.trigger(each) for each in queries.key_triggers(cursor, run.vocabulary, key)],
        "samples": [shaping.sample(each) for each in queries.key_samples(cursor, run.vocabulary, key)],
        "histograms": [
            shapes.HistogramShape(language=each.language, tokens=each.tokens, windows=each.windows)
            for each in queries.histograms(cursor, key)
        ],
    }


def _tokens(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> dict[str, Any]:
    written = queries.value_tokens(cursor, run.vocabulary, key)
    return {
        "fires_on": shaping.counts(queries.fires_on(cursor, run.vocabulary, key)),
        "value_tokens": shaping.value_tokens(written["normed"]),
        "value_tokens_raw": shaping.value_tokens(written["raw"]),
    }


def _neighbours(run: Run, key: KeyId) -> shapes.NeighboursShape:
    beside = queries.neighbours(run.manifest, key)
    names = {
        name: None if other is None else str(other)
        for name, other in (
            ("previous", beside.previous),
            ("next", beside.next),
            ("below", beside.below),
            ("above", beside.above),
        )
    }
    return shapes.NeighboursShape(**names)
