"""Runs, their layers and the keys of a layer."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from keyscope.app import queries
from keyscope.app.web import shapes, shaping
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Filter, Layer, OpenRun, Runs, Sort

MAX_LIMIT = 1000

router = APIRouter(tags=["runs"])
of_run_files = APIRouter(route_class=RunRoute)


@router.get("/runs")
def list_runs(runs: Runs) -> shapes.RunsAnswer:
    """Every run file in the runs directory."""
    readable, unreadable = runs.all()
    return shapes.RunsAnswer(
        runs=[shapes.RunSummary.of(run.run_id, run.manifest) for run in readable],
        unreadable=[shapes.UnreadableFile.model_validate(each) for each in unreadable],
    )


@of_run_files.get("/runs/{run}", responses=shapes.OF_A_RUN)
def show_run(run: OpenRun) -> shapes.RunAnswer:
    """One run with its manifest."""
    summary = shapes.RunSummary.of(run.run_id, run.manifest)
    return shapes.RunAnswer(**summary.model_dump(), manifest=run.manifest)


@router.get("/runs/{run}/file", responses=shapes.OF_A_RUN | shapes.files(shapes.RUN_FILE), response_class=FileResponse)
def run_file(run: OpenRun) -> FileResponse:
    """The run file itself, a DuckDB database; supports `Range`."""
    return FileResponse(run.path, media_type=shapes.RUN_FILE, filename=run.path.name)


@of_run_files.get("/runs/{run}/layers", responses=shapes.OF_A_RUN)
def list_layers(cursor: Cursor) -> shapes.LayersAnswer:
    """Statistics of every layer of a run."""
    summaries = queries.layer_summaries(cursor)
    return shapes.LayersAnswer(layers=[shapes.LayerShape.model_validate(summary) for summary in summaries])


@of_run_files.get("/runs/{run}/layers/{layer}/keys", responses=shapes.OF_A_RUN)
def list_keys(
    run: OpenRun,
    cursor: Cursor,
    layer: Layer,
    where: Filter,
    sort: Sort,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> shapes.LayerKeysAnswer:
    """A page of the layer's keys that pass the filter, sorted."""
    page = queries.layer_page(cursor, run.vocabulary, layer, where, sort, limit, offset)
    return shapes.LayerKeysAnswer(
        layer=layer,
        total=page.total,
        sort=sort.column,
        order=sort.order,
        limit=limit,
        offset=offset,
        keys=[shaping.key_in_table(row) for row in page.rows],
    )


router.include_router(of_run_files)
