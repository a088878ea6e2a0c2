"""The tables of the pages as CSV or Parquet."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from keyscope.app import queries, sheets
from keyscope.app.analyses.sheets import analysis_sheet
from keyscope.app.table_files import FORMATS, PAGE_FORMATS, PageFormat, Sheet, respond
from keyscope.app.web import shapes
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Filter, Key, Layer, OpenRun, Runs, Sort
from keyscope.app.web.search_query import Searched

ALL = 2**31
Wanted = Annotated[PageFormat, Query(alias="format", description="csv or parquet")]
FILES = shapes.files(*(FORMATS[name].media_type for name in PAGE_FORMATS))
OF_A_RUN = FILES | shapes.OF_A_RUN
router = APIRouter(tags=["exports"], default_response_class=Response)
of_run_files = APIRouter(default_response_class=Response, route_class=RunRoute)


@router.get("/export/runs", responses=FILES | shapes.failures(422))
def export_runs(runs: Runs, file_format: Wanted = "csv") -> Response:
    """The list of runs."""
    summaries = [shapes.RunSummary.of(run.run_id, run.manifest).model_dump() for run in runs.all()[0]]
    columns = {
        "run_id": "VARCHAR",
        "model_id": "VARCHAR",
        "n_layers": "INTEGER",
        "n_keys": "INTEGER",
        "keys_per_layer": "INTEGER[]",
        "languages": "VARCHAR[]",
        "k": "INTEGER",
        "corpus": "VARCHAR",
        "weights_sha256": "VARCHAR",
    }
    return respond(Sheet("runs", columns, [[summary[name] for name in columns] for summary in summaries]), file_format)


@of_run_files.get("/runs/{run}/export/layers", responses=OF_A_RUN)
def export_layers(run: OpenRun, cursor: Cursor, file_format: Wanted = "csv") -> Response:
    """Statistics of a run's layers."""
    return respond(sheets.layers_sheet(run, cursor), file_format)


@of_run_files.get("/runs/{run}/export/{choice}-keys", responses=OF_A_RUN)
def export_chosen_keys(
    run: OpenRun, cursor: Cursor, choice: Literal["specific", "strongest"], file_format: Wanted = "csv"
) -> Response:
    """The keys on a run's overview: the most specific, or the strongest."""
    chosen = queries.specific_keys if choice == "specific" else queries.strongest_keys
    rows = chosen(cursor, run.vocabulary)
    return respond(sheets.keys_sheet(f"{run.run_id}-{choice}-keys", rows), file_format)


@of_run_files.get("/runs/{run}/export/layers/{layer}/keys", responses=OF_A_RUN)
def export_layer_keys(
    run: OpenRun, cursor: Cursor, layer: Layer, where: Filter, sort: Sort, file_format: Wanted = "csv"
) -> Response:
    """All keys of a layer that pass the filter, in order."""
    page = queries.layer_page(cursor, run.vocabulary, layer, where, sort, limit=ALL)
    return respond(sheets.keys_sheet(f"{run.run_id}-L{layer}", page.rows), file_format)


@router.get("/runs/{run}/export/search", responses=OF_A_RUN | shapes.failures(503))
def export_search(run: OpenRun, cursor: Cursor, wanted: Searched, file_format: Wanted = "csv") -> Response:
    """All keys that a search finds, in order, with the values it measured and all statistics."""
    return respond(sheets.search_sheet(run, cursor, wanted), file_format)


@of_run_files.get("/runs/{run}/export/keys/{key}/{table}", responses=OF_A_RUN)
def export_key_table(
    run: OpenRun, cursor: Cursor, key: Key, table: sheets.KeyTable, file_format: Wanted = "csv"
) -> Response:
    """One table of a key's page."""
    return respond(sheets.key_sheet(run, cursor, key, table), file_format)


@of_run_files.get("/runs/{run}/export/analyses/{table}", responses=OF_A_RUN)
def export_analysis_table(
    run: OpenRun,
    cursor: Cursor,
    table: Annotated[str, Path(description="Name of the table, such as agreement_contexts")],
    file_format: Wanted = "csv",
) -> Response:
    """A whole table of an analysis."""
    return respond(analysis_sheet(run, cursor, table), file_format)


router.include_router(of_run_files)
