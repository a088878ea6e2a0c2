"""The forms of a key's page for comments, decisions and lists, and the stream that reports others' changes."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import Field
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse, ServerSentEvent

from keyscope.app.accounts.identity import Admin, Labeler, Visitor
from keyscope.app.accounts.presence import Presence
from keyscope.app.labels import adjudication, comments, lists
from keyscope.app.labels.changes import KeyChanges
from keyscope.app.labels.fields import Description
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Target
from keyscope.app.pages.keys.state import KeyState
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import Key, LabelsDatabase, OpenRun, RowId
from keyscope.app.web.forms import BlankIsNone, FormModel, see_other
from keyscope.app.web.render import RunLinks

KEEP_ALIVE_SECONDS = 20
router = APIRouter(prefix="/runs/{run}/keys/{key}")


def _target(run: OpenRun, key: Key) -> Target:
    return Target(run.manifest.model.weights_sha256, key)


def _way_back(links: RunLinks, run: OpenRun, key: Key, state: Annotated[KeyState, Query()]) -> str:
    return links.key(run.run_id, key, **state.query())


AboutKey = Annotated[Target, Depends(_target)]
WayBack = Annotated[str, Depends(_way_back)]


class CommentForm(FormModel):
    text: str = ""
    seen: int = Field(1, ge=1)
    """Version the form was opened with."""


class DecisionForm(FormModel):
    """A decision; without a kind it reopens the key."""

    kind: Annotated[Kind | None, BlankIsNone] = None
    description: Description = ""
    seen: int = Field(0, ge=0)


class AddForm(FormModel):
    """The list to add the key to: an existing one or a new name."""

    list: Annotated[int | None, BlankIsNone] = None
    name: str = ""
    note: str = ""


@router.post("/comments", name="write_comment_form")
def write_comment(
    about: AboutKey, back: WayBack, form: Annotated[CommentForm, Form()], person: Labeler, database: LabelsDatabase
) -> RedirectResponse:
    """Write a comment and show the key again."""
    written = database.write(lambda session: comments.write(session, about, person.name, form.text))
    return see_other(f"{back}#comment-{written.comment.id}")


@router.post("/comments/{comment}/change", name="change_comment_form")
def change_comment(
    comment: RowId,
    about: AboutKey,
    back: WayBack,
    form: Annotated[CommentForm, Form()],
    person: Labeler,
    database: LabelsDatabase,
) -> RedirectResponse:
    """Change one's own comment and show the key again."""
    database.write(lambda session: comments.change(session, about, comment, person.name, form.text, form.seen))
    return see_other(f"{back}#comment-{comment}")


@router.post("/comments/{comment}/delete", name="delete_comment_form")
def delete_comment(
    comment: RowId, about: AboutKey, back: WayBack, person: Labeler, database: LabelsDatabase
) -> RedirectResponse:
    """Delete a comment and show the key again."""
    may_all = person.role.may(Role.ADMIN)
    database.write(lambda session: comments.take_back(session, about, comment, person.name, may_all))
    return see_other(f"{back}#comments")


@router.post("/decisions", name="decide_form")
def decide(
    about: AboutKey, back: WayBack, form: Annotated[DecisionForm, Form()], person: Admin, database: LabelsDatabase
) -> RedirectResponse:
    """Decide on the key, or reopen it, and show it again."""
    said = form.kind, form.description, form.seen
    database.write(lambda session: adjudication.decide(session, about, person.name, *said))
    return see_other(f"{back}#decision")


@router.post("/lists", name="add_to_list_form")
def add_to_list(
    about: AboutKey, back: WayBack, form: Annotated[AddForm, Form()], person: Labeler, database: LabelsDatabase
) -> RedirectResponse:
    """Add the key to a list, new or existing, and show the key again."""

    def add(session: Session) -> None:
        chosen = form.list
        if chosen is None:
            chosen = lists.make_list(session, person, about.weights_sha256, form.name).id
        lists.add_keys(session, chosen, person, [about.key], form.note)

    database.write(add)
    return see_other(f"{back}#lists")


@router.get("/events", name="key_events")
async def key_events(
    request: Request,
    about: AboutKey,
    visitor: Visitor,
    since: Annotated[str, Query(max_length=200, description="State that the page knows")] = "",
) -> EventSourceResponse:
    """An event each time that labels, decisions or comments on the key change, until the client leaves or its session ends."""
    following: KeyChanges = request.app.state.changes
    seen = request.headers.get("last-event-id") or since
    who = visitor.presence if visitor else None
    return EventSourceResponse(_events(following, about, seen, who), ping=KEEP_ALIVE_SECONDS)


async def _events(
    following: KeyChanges, about: Target, seen: str, who: Presence | None
) -> AsyncIterator[ServerSentEvent]:
    async for state in following.follow(about, seen, who):
        yield ServerSentEvent(event="changed", id=state, data=state)
