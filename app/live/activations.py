"""The keys behind a token as the worker reads them, with percentiles from the run and people's labels."""

import logging

from starlette.concurrency import run_in_threadpool

from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.repository import labels_of_keys
from keyscope.app.live.client import Workers
from keyscope.app.queries import percentiles
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId
from keyscope.contract.wire import ActivationsAnswer, ActivationsRequest, KeyLabel

log = logging.getLogger(__name__)
MOST_KEYS = 20_000
"""Keys in one answer, over all layers."""
Labels = dict[KeyId, list[KeyLabel]]


async def read_activations(
    run: Run, workers: Workers, asked: ActivationsRequest, database: Database | None = None
) -> ActivationsAnswer:
    """Ask a worker for the keys behind a token; add percentiles and, given a database, labels.

    Raises:
        InvalidParameter: so many keys of every layer are too many together.
        WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: no worker answered.
    """
    most = sum(min(asked.limit, keys) for keys in run.manifest.model.keys_per_layer)
    if asked.by_layer and most > MOST_KEYS:
        raise InvalidParameter(
            f"limit: {asked.limit} keys of each layer are {most:,} in all, and at most {MOST_KEYS:,} are listed: lower the limit"
        )
    answer = await workers.activations(run.manifest, asked)

    def with_what_is_known() -> ActivationsAnswer:
        coefficients = {KeyId.parse(each.key): each.coefficient for each in answer.keys}
        labels = _labels(database, run.manifest.model.weights_sha256, list(coefficients)) if database else {}
        with run.reading() as cursor:
            own = run.manifest.model.stack
            found = percentiles(cursor, {key: each for key, each in coefficients.items() if key.stack == own})
        keys = []
        for each in answer.keys:
            key = KeyId.parse(each.key)
            keys.append(each.model_copy(update={"percentile": found.get(key), "labels": labels.get(key, [])}))
        return answer.model_copy(update={"keys": keys})

    return await run_in_threadpool(with_what_is_known)


def _labels(database: Database, weights_sha256: str, keys: list[KeyId]) -> Labels:
    """Labels by key; none while the database is down, because the keys are useful without them."""
    try:
        found = database.read(lambda session: labels_of_keys(session, weights_sha256, keys))
        return {
            key: [KeyLabel.model_validate(each, from_attributes=True) for each in labels]
            for key, labels in found.items()
        }
    except DatabaseUnavailable as error:
        log.warning("showing keys without labels: %s", error)
        return {}
