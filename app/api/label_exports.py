"""Export labels and decisions as a file, and import such a file."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Admin
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import importing, key_records, records
from keyscope.app.labels.importing import ImportRefused
from keyscope.app.labels.models import Kind
from keyscope.app.labels.records import Filter, RecordKind
from keyscope.app.table_files import FORMATS, Format, Sheet, respond
from keyscope.app.web import shapes
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.contract.wire import ErrorAnswer

router = APIRouter(tags=["labels"])

Shape = Literal["labels", "keys"]
"""What a row of an export is about."""
ImportBody = Annotated[bytes, Body(media_type="application/octet-stream", description="The content of the file")]


class ImportAnswer(shapes.Answer):
    """What an import did, or what a dry run would do."""

    dry_run: bool
    added: int = Field(description="New rows")
    changed: int = Field(description="Existing labels that now end, or end earlier")
    unchanged: int = Field(description="Rows that already existed")


class ProblemShape(BaseModel):
    """Why one row cannot be imported."""

    line: int = Field(description="Line of a text file or row of a Parquet file, from 1")
    problem: str


class ImportRefusal(ErrorAnswer):
    """Why nothing was imported."""

    problems: Sequence[ProblemShape] = Field(description=f"The first {importing.SHOWN}")


REFUSAL: shapes.Responses = {
    422: {"model": ImportRefusal | ErrorAnswer, "description": "Rows or parameters are wrong; nothing was imported"}
}


@router.get(
    "/labels/export",
    responses=shapes.failures(404, 409, 422, 503) | shapes.files(*(each.media_type for each in FORMATS.values())),
    response_class=Response,
)
def export_labels(
    database: LabelsDatabase,
    runs: Runs,
    file_format: Annotated[Format, Query(alias="format")] = "csv",
    current: Annotated[bool, Query(description="Only current labels, without the history")] = False,
    person: Annotated[str | None, Query(description="Only labels and decisions by this person")] = None,
    kind: Annotated[Kind | None, Query(description="Only this kind")] = None,
    layer: Annotated[int | None, Query(ge=0, le=10**6, description="Only keys of this layer")] = None,
    run: Annotated[str | None, Query(description="Only keys of this run's weights")] = None,
    weights_sha256: Annotated[str | None, Query(description="Only keys of these weights")] = None,
    record: Annotated[RecordKind | None, Query(description="Only labels, or only decisions")] = None,
    shape: Annotated[
        Shape,
        Query(description="One row per version of a label or decision, or one per key with its current labels counted"),
    ] = "labels",
) -> Response:
    """Every version of every label by time, then every decision on a disputed key; or every key with what it is."""
    if run is not None:
        weights_sha256 = runs.get(run).manifest.model.weights_sha256
    if shape == "keys":
        if person or kind or record:
            raise InvalidParameter("rows per key count everybody's labels: leave out person, kind and record")
        with database.transaction() as session:
            of_keys = key_records.rows(session, weights_sha256, layer)
            return respond(Sheet("labelled-keys", key_records.COLUMNS, of_keys), file_format)
    chosen = Filter(record, person, kind, layer, weights_sha256, current)
    with database.transaction() as session:
        return respond(Sheet("labels", records.COLUMNS, records.rows(session, chosen)), file_format)


@router.post("/labels/import", responses=shapes.failures(403, 413, 503) | REFUSAL, response_model=ImportAnswer)
def import_labels(
    content: ImportBody,
    _admin: Admin,
    database: LabelsDatabase,
    runs: Runs,
    file_format: Annotated[Format, Query(alias="format")] = "csv",
    dry_run: Annotated[bool, Query(description="Only check the file and count what would change")] = False,
) -> ImportAnswer | JSONResponse:
    """Import an export with its people and times: every row or none, and no row twice."""
    try:
        done = importing.import_upload(database, runs, content, file_format, dry_run)
    except ImportRefused as error:
        problems = [ProblemShape(line=each.line, problem=each.problem) for each in error.problems]
        refusal = ImportRefusal(error=error.code, detail=error.detail, problems=problems)
        return JSONResponse(refusal.model_dump(), error.status)
    return ImportAnswer(dry_run=dry_run, added=done.added, changed=done.changed, unchanged=done.unchanged)
