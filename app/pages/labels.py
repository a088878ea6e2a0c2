"""Labels on the page of a key: everyone's, and a form for one's own."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from app.dependencies import Key, LabelsDatabase, OpenRun
from app.labels import repository
from app.labels.database import Database, DatabaseUnavailable
from app.labels.models import Kind
from app.labels.people import person_name
from app.labels.repository import Judgement, Target
from app.pages.links import Links
from app.pages.render import basket_of
from app.pages.state import KeyState

router = APIRouter()

COOKIE = "keyscope-person"
COOKIE_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ShownLabel:
    """What one person says."""

    person: str
    kind: Kind
    description: str


@dataclass(frozen=True, slots=True)
class LabelBox:
    """Everyone's current labels of a key, and what the form for one's own starts with."""

    labels: list[ShownLabel]
    person: str
    """Name of who looks, where it is known."""
    mine: ShownLabel | None
    href: str
    """Where the form is sent to."""
    problem: str | None
    """Why the labels could not be read, where they could not."""
    kinds: tuple[Kind, ...] = tuple(Kind)


class LabelForm(BaseModel):
    """A label as the form sends it."""

    model_config = ConfigDict(extra="ignore")

    person: str = ""
    kind: Kind = Kind.UNCLEAR
    description: str = Field("", max_length=4000)
    retract: bool = False


def box(request: Request, database: Database, target: Target, href: str) -> LabelBox:
    """The labels of a key; a database that does not answer leaves the rest of the page as it is."""
    person = unquote(request.cookies.get(COOKIE, ""))
    try:
        with database.transaction() as session:
            found = repository.current_labels(session, target)
            labels = [ShownLabel(label.person, label.kind, label.description) for label in found]
    except DatabaseUnavailable as error:
        return LabelBox([], person, None, href, error.detail)
    mine = next((label for label in labels if label.person == person), None)
    return LabelBox(labels, person, mine, href, None)


@router.post("/runs/{run}/keys/{key}/label", name="give_label")
def give_label(
    request: Request,
    run: OpenRun,
    key: Key,
    database: LabelsDatabase,
    state: Annotated[KeyState, Query()],
    form: Annotated[LabelForm, Form()],
) -> RedirectResponse:
    """Give a label or take it back, remember the name, and show the key again.

    Raises:
        InvalidParameter: the name is none.
        NoLabel: there is nothing to take back.
    """
    person = person_name(form.person)
    target = Target(run.manifest.model.weights_sha256, key)
    if form.retract:
        database.write(lambda session: repository.retract_label(session, target, person))
    else:
        judgement = Judgement(form.kind, form.description.strip())
        database.write(lambda session: repository.put_label(session, target, person, judgement))
    links = Links(request, basket_of(run.run_id, state.mask))
    response = RedirectResponse(links.key(run.run_id, key, **state.query()) + "#labels", status_code=303)
    response.set_cookie(COOKIE, quote(person), max_age=COOKIE_SECONDS, httponly=True, samesite="lax")
    return response
