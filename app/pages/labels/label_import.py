"""`/labels/import`: import a file of labels: first a dry run, then all rows or none."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import HTMLResponse

from keyscope.app.accounts.identity import Admin, Visitor, needs
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.importing import ImportRefused, Outcome, Problem, import_upload
from keyscope.app.labels.records import NEEDED
from keyscope.app.roles import Role
from keyscope.app.runs import Registry
from keyscope.app.table_files import format_of
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond
from keyscope.app.web.security import MAX_BODY_BYTES
from keyscope.contract.errors import KeyscopeError
from keyscope.serving.bodies import BodyTooLarge

MAX_FILE_BYTES = MAX_BODY_BYTES // 10**6 * 10**6
"""Whole megabytes; the rest of the body limit is for the form around the file."""
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Checked:
    """A valid file, imported or only checked."""

    name: str
    sha256: str
    outcome: Outcome
    imported: bool
    """False if only checked: the outcome is then what an import would do."""
    another: bool
    """Whether an import was requested for a file that differs from the one checked."""


@dataclass(frozen=True, slots=True)
class ImportPage(Page):
    may_import: Annotated[bool, Help("Whether the visitor may import: an admin, known by name")]
    most: Annotated[int, Help("Maximum size of a file in bytes")]
    needed: Annotated[Sequence[str], Help("Required columns")]
    checked: Annotated[Checked | None, Help("The file sent, if every row is valid")]
    problem: Annotated[str | None, Help("Why nothing was imported")]
    problems: Annotated[list[Problem], Help("The first invalid rows, by line")]


@router.get("/labels/import", name="import_page", dependencies=[needs(Role.ADMIN)])
def import_page(request: Request, runs: Runs, visitor: Visitor, run: str = "", mask: MaskText = "") -> HTMLResponse:
    """The form."""
    return _page(request, runs, run, mask, may_import=visitor is not None)


@router.post("/labels/import", name="import_form")
def import_form(
    request: Request,
    _admin: Admin,
    database: LabelsDatabase,
    runs: Runs,
    file: Annotated[UploadFile | None, File()] = None,
    action: Annotated[Literal["check", "import"], Form()] = "check",
    checked: Annotated[str, Form(max_length=64)] = "",
    run: Annotated[str, Query()] = "",
    mask: MaskText = "",
) -> HTMLResponse:
    """Check the file; import it if exactly this file was checked before."""
    try:
        name, content = _content(file)
        sha256 = hashlib.sha256(content).hexdigest()
        imported = action == "import" and checked == sha256
        outcome = import_upload(database, runs, content, format_of(name), dry_run=not imported)
    except KeyscopeError as error:
        return _page(request, runs, run, mask, error)
    another = action == "import" and not imported
    return _page(request, runs, run, mask, checked=Checked(name, sha256, outcome, imported, another))


def _content(file: UploadFile | None) -> tuple[str, bytes]:
    """Name and contents of a file.

    Raises:
        InvalidParameter: no file was chosen.
        BodyTooLarge: the file is over the limit.
    """
    if file is None or not file.filename:
        raise InvalidParameter("no file was sent: choose one that ends in .csv, .jsonl or .parquet")
    size = file.size or 0
    if size > MAX_FILE_BYTES:
        raise BodyTooLarge(
            f"{file.filename} has {size:,} bytes, the limit is {MAX_FILE_BYTES:,}: "
            "split it, or run `keyscope labels import FILE`, which has none"
        )
    return file.filename, file.file.read()


def _page(
    request: Request,
    runs: Registry,
    run: str,
    mask: str,
    error: KeyscopeError | None = None,
    *,
    checked: Checked | None = None,
    may_import: bool = True,
) -> HTMLResponse:
    links = links_of(request, run or None, mask)
    page = ImportPage(
        frame=Frame("Import labels", links, runs.get(run).manifest if run else None),
        may_import=may_import,
        most=MAX_FILE_BYTES,
        needed=NEEDED,
        checked=checked,
        problem=error.detail if error else None,
        problems=error.problems if isinstance(error, ImportRefused) else [],
    )
    return respond(request, "labels/import.html", page, error.status if error else 200)
