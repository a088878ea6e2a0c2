"""`/labels/codebook`: what each kind means, with example keys; admins change it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field
from sqlalchemy.orm import Session

from keyscope.app import queries
from keyscope.app.accounts.identity import Admin, Person, Visitor
from keyscope.app.database.engine import Database
from keyscope.app.labels import codebook
from keyscope.app.labels.codebook import CodebookChanged, Entry, Words
from keyscope.app.labels.fields import LONGEST_DEFINITION, Definition
from keyscope.app.labels.models import Kind
from keyscope.app.labels.team_models import CodebookChange
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import LabelsDatabase
from keyscope.app.web.forms import BlankIsNone, FormModel, see_other
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, RunChoice, respond
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

router = APIRouter()


@dataclass(frozen=True, slots=True)
class CodebookPage(Page):
    runs: Annotated[list[Manifest], Help("Runs to choose from")]
    codebook: Annotated[list[Entry], Help("What each kind means, with the example keys of the run's weights")]
    history: Annotated[Sequence[CodebookChange], Help("Every change, the latest first")]
    may_change: Annotated[bool, Help("Whether the visitor may change it")]
    longest: Annotated[int, Help("Most characters of a definition")]
    problem: Annotated[str | None, Help("Why nothing was changed")]
    sent: Annotated["EntryForm | None", Help("What was sent and not saved")]


class EntryForm(FormModel):
    """The entry of a kind, and the version the form was opened on."""

    kind: Kind
    definition: Definition
    example: Annotated[str | None, BlankIsNone] = None
    counter_example: Annotated[str | None, BlankIsNone] = None
    seen: int = Field(0, ge=0)


@router.get("/labels/codebook", name="codebook_page")
def codebook_page(request: Request, chosen: ChosenRun, database: LabelsDatabase, visitor: Visitor) -> HTMLResponse:
    """What each kind means."""
    return _page(request, chosen, database, visitor)


@router.post("/labels/codebook", name="change_codebook_form")
def change_codebook(
    request: Request,
    chosen: ChosenRun,
    database: LabelsDatabase,
    person: Admin,
    form: Annotated[EntryForm, Form()],
) -> Response:
    """Change an entry; if somebody else did so meanwhile, show theirs and keep what was typed.

    Raises:
        InvalidKey, UnknownLayer, UnknownKey: the run has no such key.
        InvalidParameter: keys are named, but there is no run.
    """
    said = Words(form.definition, _key(chosen, form.example), _key(chosen, form.counter_example))
    weights = chosen.manifest.model.weights_sha256 if chosen.manifest else None
    try:
        database.write(lambda session: codebook.change(session, weights, form.kind, person.name, said, form.seen))
    except CodebookChanged as error:
        return _page(request, chosen, database, person, error, form)
    return see_other(chosen.links.page("codebook_page", run=chosen.run_id) + f"#{form.kind}")


def _page(
    request: Request,
    chosen: RunChoice,
    database: Database,
    visitor: Person | None,
    error: CodebookChanged | None = None,
    sent: EntryForm | None = None,
) -> HTMLResponse:
    weights = chosen.manifest.model.weights_sha256 if chosen.manifest else None

    def load(session: Session) -> tuple[list[Entry], Sequence[CodebookChange]]:
        return codebook.entries(session, weights), codebook.history(session)

    entries, history = database.read(load)
    page = CodebookPage(
        frame=Frame("Codebook", chosen.links, chosen.manifest),
        runs=chosen.manifests,
        codebook=entries,
        history=history,
        may_change=visitor is not None and visitor.role.may(Role.ADMIN),
        longest=LONGEST_DEFINITION,
        problem=error.detail if error else None,
        sent=sent,
    )
    return respond(request, "labels/codebook.html", page, error.status if error else 200)


def _key(chosen: RunChoice, name: str | None) -> str | None:
    """The name of a key as it is written everywhere, checked against the run."""
    if name is None:
        return None
    key = KeyId.parse(name.strip())
    if chosen.manifest:
        queries.check_key(chosen.manifest, key)
    return str(key)
