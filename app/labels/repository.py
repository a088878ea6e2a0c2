"""Labels read, given, taken back and undone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, func, select, tuple_, update
from sqlalchemy.orm import Session

from keyscope.app.database.statements import about_keys, portions
from keyscope.app.errors import NotFound
from keyscope.app.labels.models import Evidence, Kind, Label
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId

TAGGED = 2000
"""How many of the latest labels with tags are read to suggest tags."""

# An import gives older versions higher ids, so ids only break ties between equal times.
_LATEST_FIRST = Label.created_at.desc(), Label.id.desc()


class NoLabel(NotFound):
    """The person has no current label of the key."""


class LabelChanged(KeyscopeError, status=409):
    """The person's label changed after they last saw it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a label is about: a key of certain weights."""

    weights_sha256: str
    key: KeyId

    @property
    def columns(self) -> dict[str, Any]:
        """The target as column values of a table about keys."""
        key = {"layer": self.key.layer, "key_index": self.key.index, "stack": self.key.stack}
        return {"weights_sha256": self.weights_sha256, **key}

    def rows_of(self, table: Any) -> tuple[ColumnElement[bool], ...]:
        """Conditions that select a table's rows about the target."""
        return tuple(getattr(table, name) == value for name, value in self.columns.items())


def of_target(table: Any) -> tuple[ColumnElement[bool], ...]:
    """Conditions that select a table's rows about a target; its `columns` are the parameters of the statement.

    For statements of every key's page, which are made once: to make one takes several times as long as to run it.
    """
    return tuple(getattr(table, name) == bindparam(name) for name in ("weights_sha256", "layer", "key_index", "stack"))


_CURRENT = select(Label).where(*of_target(Label), Label.superseded_at.is_(None)).order_by(Label.person)
_HISTORY = select(Label).where(*of_target(Label)).order_by(*_LATEST_FIRST)
_TAGS = (
    select(Label.tags)
    .where(Label.weights_sha256 == bindparam("weights_sha256"), Label.superseded_at.is_(None))
    .where(func.json_array_length(Label.tags) > 0)
    .order_by(Label.id.desc())
    .limit(TAGGED)
)


@dataclass(frozen=True, slots=True)
class Judgement:
    kind: Kind
    description: str = ""
    confidence: float | None = None
    tags: Sequence[str] = ()
    evidence: Sequence[Evidence] = ()


def current_labels(session: Session, target: Target) -> list[Label]:
    """Everyone's current label of a key, by name."""
    return list(session.scalars(_CURRENT, target.columns))


def labels_of_keys(session: Session, weights_sha256: str, keys: Sequence[KeyId]) -> dict[KeyId, list[Label]]:
    """Everyone's current labels of many keys, by name; keys without labels are left out."""
    found: dict[KeyId, list[Label]] = defaultdict(list)
    for portion in portions(keys):
        chosen = about_keys(select(Label), Label, weights_sha256, portion)
        for label in session.scalars(chosen.where(Label.superseded_at.is_(None)).order_by(Label.person)):
            found[label.key].append(label)
    return dict(found)


def history(session: Session, target: Target) -> list[Label]:
    """Every label a key ever had, the latest first."""
    return list(session.scalars(_HISTORY, target.columns))


def keys_of_kind(session: Session, weights_sha256: str, kind: Kind) -> list[KeyId]:
    """The keys of a model that have a current label of this kind, by layer and index."""
    chosen = (
        select(Label.layer, Label.key_index, Label.stack)
        .where(Label.weights_sha256 == weights_sha256, Label.kind == kind, Label.superseded_at.is_(None))
        .distinct()
        .order_by(Label.layer, Label.key_index, Label.stack)
    )
    return [KeyId(*row) for row in session.execute(chosen)]


def current_label(session: Session, target: Target, person: str) -> Label | None:
    """A person's current label of a key."""
    return session.scalars(select(Label).where(*_current(target, person))).one_or_none()


def label_of(session: Session, weights_sha256: str, person: str, number: int) -> Label | None:
    """The label with that id, if it is the person's and about that model."""
    label = session.get(Label, number)
    return label if label and (label.weights_sha256, label.person) == (weights_sha256, person) else None


def label_before(session: Session, weights_sha256: str, person: str, number: int) -> Label | None:
    """The person's latest current label about a model that is older than label `number`."""
    label = label_of(session, weights_sha256, person, number)
    if label is None:
        return None
    mine = Label.weights_sha256 == weights_sha256, Label.person == person, Label.superseded_at.is_(None)
    return _latest(session, *mine, _before(label))


def put_label(
    session: Session, target: Target, person: str, judgement: Judgement, based_on: int | None = None
) -> Label:
    """Make this the person's current label of a key; the previous one stays in the history.

    `based_on` is the id of the label the person last saw, 0 for none; None replaces whatever is there.

    Raises:
        LabelChanged: the person's current label is not `based_on`.
    """
    closed, now = _close(session, target, person, retracted=False)
    _check_unchanged(target, closed, based_on)
    label = Label(
        **target.columns,
        person=person,
        kind=judgement.kind,
        description=judgement.description,
        confidence=judgement.confidence,
        tags=list(judgement.tags),
        evidence=[each.model_dump() for each in judgement.evidence],
        created_at=now,
        superseded_at=None,
        retracted=False,
    )
    session.add(label)
    session.flush()
    return label


def retract_label(session: Session, target: Target, person: str, based_on: int | None = None) -> None:
    """Take back a person's current label of a key; it stays in the history.

    Raises:
        NoLabel: the person has no label of the key.
        LabelChanged: the person's current label is not `based_on`.
    """
    closed, _ = _close(session, target, person, retracted=True)
    if not closed and not based_on:
        raise NoLabel(f"{person} has no label on {target.key}")
    _check_unchanged(target, closed, based_on)


def undo(session: Session, target: Target, person: str, based_on: int | None = None) -> Label | None:
    """Undo the person's last change of their label of a key; return their label afterwards.

    The previous label is given again as a new version; if there was none, the current one is taken back. A second undo
    restores the change.

    Raises:
        NoLabel: the person has never labelled the key.
        LabelChanged: the person's current label is not `based_on`, 0 for none.
    """
    ended_last = Label.superseded_at.desc(), *_LATEST_FIRST
    mine = select(Label).where(*target.rows_of(Label), Label.person == person)
    last = current_label(session, target, person) or session.scalars(mine.order_by(*ended_last).limit(1)).first()
    if last is None:
        raise NoLabel(f"{person} has never labelled {target.key}")
    current = last.id if last.current else 0
    _check_unchanged(target, current, based_on)
    before = _latest(session, *target.rows_of(Label), Label.person == person, _before(last)) if current else last
    if before is None or (current and before.retracted):
        retract_label(session, target, person, based_on=current)
        return None
    return put_label(session, target, person, judgement_of(before), based_on=current)


def judgement_of(label: Label) -> Judgement:
    """The content of a stored label."""
    evidence = [Evidence.model_validate(each) for each in label.evidence]
    return Judgement(label.kind, label.description, label.confidence, label.tags, evidence)


def known_tags(session: Session, weights_sha256: str, limit: int = 100) -> list[tuple[str, int]]:
    """Tags of a model's latest labels with their counts, the most frequent first."""
    latest = session.scalars(_TAGS, {"weights_sha256": weights_sha256})
    counts = Counter(tag for tags in latest for tag in tags)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def _current(target: Target, person: str) -> tuple[ColumnElement[bool], ...]:
    return (*target.rows_of(Label), Label.person == person, Label.superseded_at.is_(None))


def _before(label: Label) -> ColumnElement[bool]:
    return tuple_(Label.created_at, Label.id) < (label.created_at, label.id)


def _latest(session: Session, *where: ColumnElement[bool]) -> Label | None:
    return session.scalars(select(Label).where(*where).order_by(*_LATEST_FIRST).limit(1)).first()


def _close(session: Session, target: Target, person: str, retracted: bool) -> tuple[int, datetime]:
    """Close the current label; return its id (0 if there was none) and the time."""
    now = datetime.now(UTC)
    # This server's clock may be behind the one that timed the label; a history must not run backwards.
    moment = case((Label.created_at > now, Label.created_at), else_=now)
    # The transaction starts with a write: SQLite locks here, and a second writer waits instead of failing.
    closed = session.execute(
        update(Label)
        .where(*_current(target, person))
        .values(superseded_at=moment, retracted=retracted)
        .returning(Label.id, Label.superseded_at)
    ).one_or_none()
    return (closed.id, closed.superseded_at) if closed else (0, now)


def _check_unchanged(target: Target, current: int, based_on: int | None) -> None:
    if based_on is None or current == based_on:
        return
    found = f"label {current}" if current else "no label"
    started = f"label {based_on}" if based_on else "no label"
    raise LabelChanged(
        f"your label of {target.key} has changed: you started from {started}, but now there is {found}; "
        "read it, then send your change again based on it"
    )
