"""The keys behind a token: what the worker reads, with how rare it is in the run's corpus."""

import duckdb
from starlette.concurrency import run_in_threadpool

from app.live import Workers
from app.queries import percentiles
from app.runs import Run
from contract.keys import KeyId
from contract.wire import ActivationsAnswer, ActivationsRequest


async def read_activations(run: Run, workers: Workers, asked: ActivationsRequest) -> ActivationsAnswer:
    """The keys behind a token of a text, each with the percentile of its coefficient.

    Raises:
        WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: nothing was read.
    """
    answer = await workers.activations(run.manifest, asked)

    def with_percentiles() -> ActivationsAnswer:
        with run.reading() as cursor:
            return _with_percentiles(cursor, answer)

    return await run_in_threadpool(with_percentiles)


def _with_percentiles(cursor: duckdb.DuckDBPyConnection, answer: ActivationsAnswer) -> ActivationsAnswer:
    found = percentiles(cursor, {KeyId.parse(each.key): each.coefficient for each in answer.keys})
    keys = [each.model_copy(update={"percentile": found.get(KeyId.parse(each.key))}) for each in answer.keys]
    return answer.model_copy(update={"keys": keys})
