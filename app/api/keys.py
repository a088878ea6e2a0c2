"""Everything known about one key."""

import math

from fastapi import APIRouter, Response

from keyscope.app import queries
from keyscope.app.database.engine import DatabaseUnavailable
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import Target, current_labels
from keyscope.app.web import shapes, shaping
from keyscope.app.web.dependencies import Cursor, Key, LabelsDatabase, OpenRun
from keyscope.contract import bins

router = APIRouter(tags=["keys"])


@router.get("/runs/{run}/keys/{key}", responses=shapes.OF_A_RUN, response_model=shapes.KeyAnswer)
def show_key(run: OpenRun, cursor: Cursor, key: Key, database: LabelsDatabase) -> Response:
    """One key: statistics, triggers, samples, the tokens it fires on, the tokens its value writes, and its labels."""
    labels: list[Label] = []
    problem = None
    try:
        target = Target(run.manifest.model.weights_sha256, key)
        labels = database.read(lambda session: current_labels(session, target))
    except DatabaseUnavailable as error:
        problem = error.detail
    numbers, windows = run.numbers(cursor, key), run.windows
    answer = {
        "ok": True,
        "key": str(key),
        "layer": key.layer,
        "index": key.index,
        "stats": numbers.statistics,
        "stats_by_language": {each.language: each.statistics for each in numbers.by_language},
        "fires_on": shaping.counts(numbers.fires_on),
        "value_tokens": shaping.value_tokens(numbers.value["normed"]),
        "value_tokens_raw": shaping.value_tokens(numbers.value["raw"]),
        "histogram_edges": [edge if math.isfinite(edge) else None for edge in bins.edges()],
        "histograms": [
            {"language": each.language, "tokens": each.tokens, "windows": each.windows} for each in numbers.histograms
        ],
        "neighbours": shapes.NeighboursShape.model_validate(queries.neighbours(run.manifest, key)),
        "labels": [shapes.LabelShape.model_validate(each) for each in labels],
        "labels_problem": problem,
    }
    triggers, samples = queries.key_examples(cursor, windows, key)
    written = shaping.with_examples(answer, triggers, samples, windows)
    return Response(written, media_type="application/json")
