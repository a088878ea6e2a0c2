"""Runs, their layers and the keys of a layer."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from keyscope.app import queries
from keyscope.app.web import shapes as models
from keyscope.app.web import shaping as shapes
from keyscope.app.web.dependencies import Cursor, Filter, Layer, OpenRun, Runs, Sort

MAX_LIMIT = 1000
RUN_FILE = "application/vnd.duckdb"

router = APIRouter(tags=["runs"])


@router.get("/runs")
def list_runs(runs: Runs) -> models.RunsAnswer:
    """Every run file of the runs directory."""
    readable, unreadable = runs.all()
    return models.RunsAnswer(
        runs=[models.RunSummary.of(run.run_id, run.manifest) for run in readable],
        unreadable=[models.UnreadableFile(run_id=each.run_id, reason=each.reason) for each in unreadable],
    )


@router.get("/runs/{run}", responses=models.OF_A_RUN)
def show_run(run: OpenRun) -> models.RunAnswer:
    """One run: what it is and where it comes from."""
    summary = models.RunSummary.of(run.run_id, run.manifest)
    return models.RunAnswer(**summary.model_dump(), manifest=run.manifest)


@router.get("/runs/{run}/file", responses=models.OF_A_RUN | models.files(RUN_FILE), response_class=FileResponse)
def run_file(run: OpenRun) -> FileResponse:
    """The run file itself, a DuckDB database; parts of it by `Range`."""
    return FileResponse(run.path, media_type=RUN_FILE, filename=run.path.name)


@router.get("/runs/{run}/layers", responses=models.OF_A_RUN)
def list_layers(cursor: Cursor) -> models.LayersAnswer:
    """Every layer of a run in numbers."""
    summaries = queries.layer_summaries(cursor)
    return models.LayersAnswer(layers=[models.LayerShape(**asdict(summary)) for summary in summaries])


@router.get("/runs/{run}/layers/{layer}/keys", responses=models.OF_A_RUN)
def list_keys(
    run: OpenRun,
    cursor: Cursor,
    layer: Layer,
    where: Filter,
    sort: Sort,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> models.LayerKeysAnswer:
    """The keys of a layer that pass the filter, in order."""
    page = queries.layer_page(cursor, run.vocabulary, layer, where, sort, limit, offset)
    return models.LayerKeysAnswer(
        layer=layer,
        total=page.total,
        sort=sort.column,
        order=sort.order,
        limit=limit,
        offset=offset,
        keys=[shapes.key_in_table(row) for row in page.rows],
    )
