"""`/labels/queue`: one key after another to label, by keyboard alone where the browser runs scripts."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from keyscope.app import queries
from keyscope.app.accounts.identity import Labeler, Person, Visitor, require
from keyscope.app.database.engine import Database
from keyscope.app.labels import leases, lists, repository
from keyscope.app.labels.models import Label
from keyscope.app.labels.queue import Offer, Strategy, next_key
from keyscope.app.labels.repository import LabelChanged, Target
from keyscope.app.pages.keys.label_box import box
from keyscope.app.pages.keys.label_changes import Change, LabelForm
from keyscope.app.pages.labels.queue_page import (
    ACTIONS,
    STRATEGIES,
    Choice,
    Last,
    LastPage,
    Progress,
    QueueDrawing,
    QueueState,
    StartPage,
    load_last,
    load_progress,
)
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.app.web.dependencies import LabelsDatabase, Runs
from keyscope.app.web.forms import see_other
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Frame, links_of, respond
from keyscope.contract.keys import KeyId

router = APIRouter()
State = Annotated[QueueState, Query()]


class Undo(BaseModel):
    """The label to undo."""

    label: int = Field(ge=1, le=2**31 - 1)


@router.get("/labels/queue", name="queue_page")
def queue_page(request: Request, registry: Runs, visitor: Visitor, database: LabelsDatabase, state: State) -> Response:
    """The next key to label, leased to the visitor; without a run, strategy or name, the form that asks for them.

    Raises:
        Forbidden: the visitor cannot label.
        InvalidParameter: no list is given, or it is about another model.
    """
    links = links_of(request, state.run or None, state.mask)
    if not state.run or state.strategy is None or visitor is None:
        return _start(request, registry, visitor, database, state, links)
    require(visitor, Role.LABELER)
    run, person = registry.get(state.run), visitor
    if state.key:
        return _Desk(request, run, state, links, database, person).show(_key(run, state), state.strategy)
    offer = next_key(database, run, state.wanted(state.strategy), person.name)
    if offer.key is None:
        return _start(request, registry, visitor, database, state, links, offer)
    return see_other(links.page("queue_page", **state.rest(key=str(offer.key), last=state.last)))


@router.post("/labels/queue/start", name="queue_start")
def queue_start(request: Request, person: Labeler, form: Annotated[QueueState, Form()]) -> RedirectResponse:
    """Go to the first key."""
    links = Links(request, Basket(form.run or None), form.mask)
    return see_other(links.page("queue_page", **form.query()))


@router.post("/labels/queue", name="queue_answer")
def queue_answer(
    request: Request,
    registry: Runs,
    person: Labeler,
    database: LabelsDatabase,
    state: State,
    form: Annotated[LabelForm, Form()],
) -> Response:
    """Save a label or skip the key, and go on to the next one; a script gets the saved label alone.

    Raises:
        InvalidParameter: no kind is chosen.
    """
    run = registry.get(state.run)
    links = links_of(request, run.run_id, state.mask)
    change = Change(run, _key(run, state), form, person)
    if form.action == "skip":
        database.write(lambda session: leases.skip(session, change.target, person.name))
        last = state.last
    else:
        try:
            last = change.apply(database) or None
        except LabelChanged:
            if form.action != "save":
                raise
            here = state.query()
            page = change.conflict(
                links, database, links.page("queue_answer", **here), links.page("queue_page", **here)
            )
            return respond(request, "keys/label_conflict.html", page, 409)
        database.write(lambda session: leases.release(session, change.target, person.name))
    if "HX-Request" in request.headers:
        return _Desk(request, run, state.model_copy(update={"last": last}), links, database, person).tell()
    return see_other(links.page("queue_page", **state.rest(last=last)))


@router.post("/labels/queue/undo", name="queue_undo")
def queue_undo(
    request: Request,
    registry: Runs,
    person: Labeler,
    database: LabelsDatabase,
    state: State,
    form: Annotated[Undo, Form()],
) -> RedirectResponse:
    """Undo a label and return to its key; the label before it can be undone next.

    Raises:
        NoLabel: the person has no label of that id.
        LabelChanged: it is no longer the current label.
    """
    run = registry.get(state.run)
    weights = run.manifest.model.weights_sha256

    def undo(session: Session) -> tuple[Label, Label | None]:
        label = repository.label_of(session, weights, person.name, form.label)
        if label is None:
            raise repository.NoLabel(f"{person.name} has no label {form.label} on a key of this model")
        repository.undo(session, Target(weights, label.key), person.name, based_on=label.id)
        return label, repository.label_before(session, weights, person.name, label.id)

    label, before = database.write(undo)
    links = links_of(request, run.run_id, state.mask)
    last = before.id if before else None
    return see_other(links.page("queue_page", **state.rest(key=str(label.key), undone=label.id, last=last)))


class _Desk:
    """One person at the queue."""

    def __init__(
        self, request: Request, run: Run, state: QueueState, links: Links, database: Database, person: Person
    ) -> None:
        self.request, self.run, self.state, self.links = request, run, state, links
        self.database, self.person = database, person
        self.weights = run.manifest.model.weights_sha256

    def show(self, key: KeyId, strategy: Strategy) -> HTMLResponse:
        """A key to label, leased to the person unless someone else has it."""
        target, state, name = Target(self.weights, key), self.state, self.person.name
        mine = self.database.write(lambda session: leases.take(session, target, name))
        holder = None if mine else self.database.read(lambda session: leases.holder(session, target))
        href = self.links.page("queue_answer", **state.query())
        labels = box(self.database, target, href, self.person, state.blind, state.undone, ACTIONS)
        progress, last = self._progress(strategy), self._last()
        with self.run.reading() as cursor:
            drawing = QueueDrawing(self.run, key, cursor, state, self.links)
            page = drawing.queue_page(labels, strategy, holder, progress, last)
            return respond(self.request, "labels/queue.html", page)

    def tell(self) -> HTMLResponse:
        """The label just saved and the progress, alone."""
        frame = Frame("Labelled", self.links, self.run.manifest)
        progress = self._progress(self.state.strategy or Strategy.SAMPLE)
        page = LastPage(frame=frame, progress=progress, last=self._last())
        return respond(self.request, "labels/queue_last.html", page)

    def _progress(self, strategy: Strategy) -> Progress:
        return self.database.read(load_progress(self.run, self.state.wanted(strategy), self.person.name))

    def _last(self) -> Last | None:
        return self.database.read(load_last(self.state, self.weights, self.person.name, self.links))


def _start(
    request: Request,
    registry: Registry,
    visitor: Person | None,
    database: Database,
    state: QueueState,
    links: Links,
    offer: Offer | None = None,
) -> HTMLResponse:
    runs = [run.manifest for run in registry.all()[0]]
    run = registry.get(state.run) if state.run else None
    name = visitor.name if visitor else ""
    last = None
    if run is not None and visitor is not None:
        last = database.read(load_last(state, run.manifest.model.weights_sha256, name, links))
    page = StartPage(
        frame=Frame("Labelling queue", links, run.manifest if run else None),
        runs=runs,
        strategies=[
            Choice(each, words, each == (state.strategy or Strategy.SAMPLE)) for each, words in STRATEGIES.items()
        ],
        lists=database.read(lambda session: lists.visible_lists(session, visitor.name if visitor else None)),
        state=state,
        offer=offer,
        last=last,
        again=links.page("queue_page", **state.rest()),
    )
    return respond(request, "labels/queue_start.html", page)


def _key(run: Run, state: QueueState) -> KeyId:
    key = KeyId.parse(state.key)
    queries.check_key(run.manifest, key)
    return key
