"""Everyone's labels of a key, their history, and the form for one's own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Person
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.labels import codebook, repository
from keyscope.app.labels.codebook import Entry
from keyscope.app.labels.models import Kind, Label
from keyscope.app.labels.repository import Target
from keyscope.app.roles import Role
from keyscope.app.web import formats


@dataclass(frozen=True, slots=True)
class Event:
    """A label was saved or removed."""

    moment: datetime
    taken_back: bool
    label: Label


@dataclass(frozen=True, slots=True)
class Action:
    """A button of the form."""

    value: str
    title: str
    pressed: str = ""
    """Its shortcut."""


SAVE, CHANGE = Action("save", "save"), Action("save", "change my label")
TAKE_BACK, UNDO = Action("retract", "remove"), Action("undo", "undo my last change")


@dataclass(frozen=True, slots=True)
class LabelBox:
    """The labels of a key and the initial state of the form."""

    person: str
    """The visitor's name; empty if unknown."""
    may_label: bool
    href: str
    """Where the form is sent."""
    problem: str | None = None
    """Why the labels could not be read; None if they were."""
    labels: list[Label] = field(default_factory=list)
    mine: Label | None = None
    start: Label | None = None
    """Initial label of the form: the visitor's own, or the one just undone."""
    blind: bool = False
    """Whether others' labels are hidden until the visitor saves one."""
    history: list[Event] = field(default_factory=list)
    """Every change of a label, latest first."""
    tags: list[str] = field(default_factory=list)
    """Tags to suggest."""
    codebook: list[Entry] = field(default_factory=list)
    """What the kinds mean."""
    actions: tuple[Action, ...] = (SAVE,)
    kinds: tuple[Kind, ...] = tuple(Kind)

    @property
    def marks(self) -> dict[str, str]:
        """Triggers given as evidence, each with the names of the people."""
        people: dict[str, list[str]] = {}
        for label in self.labels:
            for each in label.places:
                people.setdefault(each, []).append(label.person)
        return {each: ", ".join(names) for each, names in people.items()}

    @property
    def ticked(self) -> list[str]:
        """Triggers ticked at first."""
        return self.start.places if self.start else []

    @property
    def confidences(self) -> dict[float, str]:
        """Confidences to choose from, the initial one included."""
        given = self.start.confidence if self.start else None
        return formats.CONFIDENCES if given is None else {given: formats.confidence(given)} | formats.CONFIDENCES


def box(
    database: Database,
    target: Target,
    href: str,
    visitor: Person | None,
    blind: bool = False,
    undone: int | None = None,
    actions: tuple[Action, ...] | None = None,
) -> LabelBox:
    """The labels of a key; if the database does not answer, only a problem is reported.

    `undone` is the id of a label just undone; the form starts from it.
    """
    person = visitor.name if visitor else ""
    may_label = visitor is None or visitor.role.may(Role.LABELER)

    def load(session: Session) -> tuple[list[Label], list[str], list[Entry]]:
        weights = target.weights_sha256
        tags = repository.known_tags(session, weights)
        return repository.history(session, target), [tag for tag, _ in tags], codebook.entries(session, weights)

    try:
        rows, tags, kinds = database.read(load)
    except DatabaseUnavailable as error:
        return LabelBox(person, may_label, href, problem=error.detail)
    said = [row for row in rows if row.person == person]
    mine = next((row for row in said if row.current), None)
    again = next((row for row in said if row.id == undone), None)
    hidden = blind and mine is None
    seen = [] if hidden else rows
    return LabelBox(
        person=person,
        may_label=may_label,
        href=href,
        labels=sorted((row for row in seen if row.current), key=lambda label: label.person),
        mine=mine,
        start=mine or again,
        blind=hidden,
        history=events(seen),
        tags=tags,
        codebook=kinds,
        actions=actions or (CHANGE if mine else SAVE, *([TAKE_BACK] if mine else []), *([UNDO] if said else [])),
    )


def events(rows: Iterable[Label]) -> list[Event]:
    """Changes, latest first, from labels in the same order."""
    found = []
    for row in rows:
        if row.superseded_at is not None and row.retracted:
            found.append(Event(row.superseded_at, True, row))
        found.append(Event(row.created_at, False, row))
    return sorted(found, key=lambda event: event.moment, reverse=True)
