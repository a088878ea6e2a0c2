"""Dependencies that endpoints name as parameter types: the runs, one run, a cursor, a key, a filter."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import duckdb
from fastapi import Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from keyscope.app import queries
from keyscope.app.concepts.previews import Previews
from keyscope.app.database.engine import Database
from keyscope.app.errors import OtherStack
from keyscope.app.live.client import Workers
from keyscope.app.live.jobs import Jobs
from keyscope.app.live.measurements import Measurements
from keyscope.app.queries.layers import Order
from keyscope.app.runs import Registry, Run
from keyscope.app.settings import Settings
from keyscope.contract.keys import KeyId


def _of_app(name: str) -> Any:
    """A dependency on a part of the application's state."""

    async def read(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(read)


ListId = Annotated[int, Path(alias="list", description="Number of the list", ge=1, lt=2**31)]
RowId = Annotated[int, Path(ge=1, lt=2**31)]
"""Id of a row in the labels database, within the range of its columns."""
SettingsOf = Annotated[Settings, _of_app("settings")]
Runs = Annotated[Registry, _of_app("registry")]
LabelsDatabase = Annotated[Database, _of_app("database")]
PatternPreviews = Annotated[Previews, _of_app("previews")]
LiveWorkers = Annotated[Workers, _of_app("workers")]
LiveJobs = Annotated[Jobs, _of_app("jobs")]
PromptMeasurements = Annotated[Measurements, _of_app("measurements")]


# These do so little that a thread of their own would cost more: they run on the event loop.


async def run_named(run_id: str, registry: Registry) -> Run:
    """The run of that name; opened by a thread if it is not open yet.

    Raises:
        UnknownRun: no such file exists.
        RunFileError: the file cannot be read as a run.
    """
    run = registry.opened(run_id)
    return run if run is not None else await run_in_threadpool(registry.get, run_id)


async def _run(
    run: Annotated[str, Path(description="Name of the run: its file without .duckdb")], registry: Runs
) -> Run:
    return await run_named(run, registry)


OpenRun = Annotated[Run, Depends(_run)]
"""The run named in the path; raises UnknownRun."""


async def _cursor(run: OpenRun) -> AsyncIterator[duckdb.DuckDBPyConnection]:
    with run.reading() as cursor:
        yield cursor


async def _layer(layer: Annotated[int, Path(description="Layer, from 0")], run: OpenRun) -> int:
    queries.check_layer(run.manifest, layer)
    return layer


def _of_other_stack(key: KeyId, run: Run, registry: Registry) -> OtherStack:
    """The error that says which runs have a key of an encoder–decoder's other stack."""
    others = registry.of_stack(run.manifest.model.weights_sha256, key.stack)
    return OtherStack(run.run_id, key, run.manifest.model.stack, others)


async def _key(
    key: Annotated[str, Path(description="Name of the key, such as L5.K312")], run: OpenRun, registry: Runs
) -> KeyId:
    parsed = KeyId.parse(key)
    if parsed.stack != run.manifest.model.stack:
        raise await run_in_threadpool(_of_other_stack, parsed, run, registry)
    queries.check_key(run.manifest, parsed)
    return parsed


Cursor = Annotated[duckdb.DuckDBPyConnection, Depends(_cursor)]
"""A cursor on the run named in the path, closed after the request."""
Layer = Annotated[int, Depends(_layer)]
"""The layer named in the path; raises UnknownLayer."""
Key = Annotated[KeyId, Depends(_key)]
"""The key named in the path; raises InvalidKey, UnknownLayer or UnknownKey."""


async def _filter(
    language: Annotated[str | None, Query(description="Only keys that fire most often in this language")] = None,
    min_firing_rate: Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)] = None,
    max_firing_rate: Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)] = None,
    token: Annotated[
        str | None,
        Query(description=r"Only keys that fire on exactly this token; \n, \t, \r, \\ and \xE2 stand for bytes"),
    ] = None,
) -> queries.LayerFilter:
    return queries.LayerFilter(language, min_firing_rate, max_firing_rate, token)


async def _sort(
    sort: Annotated[str, Query(description="index, or the name of a statistic")] = "contribution",
    order: Annotated[Order, Query()] = "desc",
) -> queries.LayerSort:
    return queries.LayerSort(sort, order)


Filter = Annotated[queries.LayerFilter, Depends(_filter)]
"""Filter of a layer's keys, from the query."""
Sort = Annotated[queries.LayerSort, Depends(_sort)]
"""Order of a layer's keys, from the query; raises InvalidParameter for an unknown column."""
