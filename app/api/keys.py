"""Everything known about one key."""

import math

from fastapi import APIRouter

from keyscope.app import queries
from keyscope.app.database.engine import DatabaseUnavailable
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import Target, current_labels
from keyscope.app.web import shapes, shaping
from keyscope.app.web.dependencies import Cursor, Key, LabelsDatabase, OpenRun
from keyscope.contract import bins

router = APIRouter(tags=["keys"])


@router.get("/runs/{run}/keys/{key}", responses=shapes.OF_A_RUN)
def show_key(run: OpenRun, cursor: Cursor, key: Key, database: LabelsDatabase) -> shapes.KeyAnswer:
    """One key: statistics, triggers, samples, the tokens it fires on, the tokens its value writes, and its labels."""
    labels: list[Label] = []
    problem = None
    try:
        target = Target(run.manifest.model.weights_sha256, key)
        labels = database.read(lambda session: current_labels(session, target))
    except DatabaseUnavailable as error:
        problem = error.detail
    vocabulary, written = run.vocabulary, queries.value_tokens(cursor, run.vocabulary, key)
    return shapes.KeyAnswer(
        key=str(key),
        layer=key.layer,
        index=key.index,
        stats=queries.key_statistics(cursor, key),
        stats_by_language={each.language: each.statistics for each in queries.language_statistics(cursor, key)},
        histogram_edges=[edge if math.isfinite(edge) else None for edge in bins.edges()],
        triggers=[shaping.example(shapes.TriggerShape, each) for each in queries.key_triggers(cursor, vocabulary, key)],
        samples=[shaping.example(shapes.SampleShape, each) for each in queries.key_samples(cursor, vocabulary, key)],
        fires_on=shaping.counts(queries.fires_on(cursor, vocabulary, key)),
        value_tokens=shaping.value_tokens(written["normed"]),
        value_tokens_raw=shaping.value_tokens(written["raw"]),
        histograms=[shapes.HistogramShape.model_validate(each) for each in queries.histograms(cursor, key)],
        neighbours=shapes.NeighboursShape.model_validate(queries.neighbours(run.manifest, key)),
        labels=[shapes.LabelShape.model_validate(each) for each in labels],
        labels_problem=problem,
    )
