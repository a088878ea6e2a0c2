"""`/activity`: recent labels, decisions, comments and lists."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from keyscope.app.accounts.identity import Visitor
from keyscope.app.labels import activity, markdown
from keyscope.app.labels.activity import Event, Filter, What
from keyscope.app.web.dependencies import LabelsDatabase
from keyscope.app.web.links import Links
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, respond
from keyscope.contract.manifest import Manifest

VERBS = {
    What.LABEL: "labelled",
    What.RETRACTION: "removed their label of",
    What.ADJUDICATION: "decided on",
    What.COMMENT: "commented on",
    What.LIST: "created the list",
}
router = APIRouter()


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One action of one person."""

    event: Event
    verb: str
    title: str
    """The key, or the list's name."""
    href: str
    words: Markup | str
    """Description or comment; comments as sanitised HTML."""


@dataclass(frozen=True, slots=True)
class ActivityPage(Page):
    runs: Annotated[list[Manifest], Help("Runs to choose from")]
    events: Annotated[list[ShownEvent], Help("Actions on the run's keys, latest first")]
    person: Annotated[str, Help("Only this person's actions; empty for everyone's")]
    mine: Annotated[bool, Help("Only comments that mention the visitor")]
    later: Annotated[str | None, Help("Address of older activity")]


@router.get("/activity", name="activity_page")
def activity_page(
    request: Request,
    chosen: ChosenRun,
    database: LabelsDatabase,
    visitor: Visitor,
    person: str = "",
    mine: bool = False,
    before: str = "",
) -> HTMLResponse:
    """Labels, decisions, comments and lists, the latest first."""
    links, run_id = chosen.links, chosen.run_id
    name = visitor.name if visitor else None
    wanted = Filter(
        viewer=name,
        person=person or None,
        mentioning=name if mine else None,
        weights_sha256=chosen.manifest.model.weights_sha256 if chosen.manifest else None,
        before=before,
    )
    nobody = mine and name is None
    events = [] if nobody else database.read(lambda session: activity.recent(session, wanted))
    more = len(events) == activity.PAGE
    query = {"person": person, "mine": "true" if mine else None, "before": events[-1].cursor if more else None}
    page = ActivityPage(
        frame=Frame("Activity", links, chosen.manifest),
        runs=chosen.manifests,
        events=[_shown(each, links, run_id) for each in events] if run_id else [],
        person=person,
        mine=mine,
        later=links.page("activity_page", run=run_id, **query) if more and run_id else None,
    )
    return respond(request, "labels/activity.html", page)


def _shown(event: Event, links: Links, run_id: str) -> ShownEvent:
    verb = VERBS[event.what]
    if event.what is What.ADJUDICATION and event.kind is None:
        verb = "reopened"
    if event.key is None:
        return ShownEvent(event, verb, event.text, links.page("list_page", list=event.id, run=run_id), "")
    places = {What.COMMENT: f"#comment-{event.id}", What.ADJUDICATION: "#decision"}
    href = links.key(run_id, event.key) + places.get(event.what, "#labels")
    words = markdown.render(event.text) if event.what is What.COMMENT else event.text
    return ShownEvent(event, verb, str(event.key), href, words)
