"""Labels and baskets read and written; only this module speaks to the session."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, case, func, select, tuple_, update
from sqlalchemy.orm import Session

from keyscope.app.errors import NotFound
from keyscope.app.labels.models import Basket, Evidence, Kind, Label
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId, Mask, format_basket, parse_basket

TAGGED = 2000
"""The latest labels with tags, from which tags are suggested."""

_BASKET_ID = re.compile(r"[0-9a-f]{20}")
# An import gives earlier versions higher ids, so these only tell apart what was given at the same moment.
_LATEST_FIRST = Label.created_at.desc(), Label.id.desc()


class NoLabel(NotFound):
    """A person has no current label of a key."""

    code = "no_label"


class LabelChanged(KeyscopeError):
    """A person's label is no longer the one that a change of it was based on."""

    code = "label_changed"
    status = 409


class UnknownBasket(NotFound):
    """No basket of that id was saved."""

    code = "unknown_basket"


@dataclass(frozen=True, slots=True)
class Target:
    """What a label is about: a key of certain weights."""

    weights_sha256: str
    key: KeyId


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person says about a key."""

    kind: Kind
    description: str = ""
    confidence: float | None = None
    tags: Sequence[str] = ()
    evidence: Sequence[Evidence] = ()


def current_labels(session: Session, target: Target) -> list[Label]:
    """Everyone's current label of a key, in the order of their names."""
    chosen = select(Label).where(*_about(target), Label.superseded_at.is_(None)).order_by(Label.person)
    return list(session.scalars(chosen))


def history(session: Session, target: Target) -> list[Label]:
    """Every label of a key there ever was, the latest first."""
    return list(session.scalars(select(Label).where(*_about(target)).order_by(*_LATEST_FIRST)))


def keys_of_kind(session: Session, weights_sha256: str, kind: Kind) -> list[KeyId]:
    """The keys of a model's weights that somebody now gives this kind, in the order of their names."""
    chosen = (
        select(Label.layer, Label.key_index)
        .where(Label.weights_sha256 == weights_sha256, Label.kind == kind, Label.superseded_at.is_(None))
        .distinct()
        .order_by(Label.layer, Label.key_index)
    )
    return [KeyId(layer, index) for layer, index in session.execute(chosen)]


def current_label(session: Session, target: Target, person: str) -> Label | None:
    """What a person says of a key now."""
    mine = (*_about(target), Label.person == person, Label.superseded_at.is_(None))
    return session.scalars(select(Label).where(*mine)).one_or_none()


def label_of(session: Session, weights_sha256: str, person: str, number: int) -> Label | None:
    """A label by its id, where it is the person's and about that model."""
    label = session.get(Label, number)
    return label if label and (label.weights_sha256, label.person) == (weights_sha256, person) else None


def label_before(session: Session, weights_sha256: str, person: str, number: int) -> Label | None:
    """The person's latest current label about a model from before the one of that id."""
    label = label_of(session, weights_sha256, person, number)
    if label is None:
        return None
    mine = Label.weights_sha256 == weights_sha256, Label.person == person, Label.superseded_at.is_(None)
    return _latest(session, *mine, _before(label))


def put_label(
    session: Session, target: Target, person: str, judgement: Judgement, based_on: int | None = None
) -> Label:
    """Make this the person's current label of a key; the one before stays in the history.

    `based_on` is the id of the person's label that the change starts from, 0 for none; None replaces whatever there is.

    Raises:
        LabelChanged: the person's label is another one by now.
    """
    closed, now = _close(session, target, person, retracted=False)
    _check_unchanged(target, closed, based_on)
    label = Label(
        person=person,
        weights_sha256=target.weights_sha256,
        layer=target.key.layer,
        key_index=target.key.index,
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
    """Take a person's current label of a key back; it stays in the history.

    Raises:
        NoLabel: there is none.
        LabelChanged: it is not the one of the id `based_on`.
    """
    closed, _ = _close(session, target, person, retracted=True)
    if not closed and not based_on:
        raise NoLabel(f"{person} has no label on {target.key}")
    _check_unchanged(target, closed, based_on)


def undo(session: Session, target: Target, person: str, based_on: int | None = None) -> Label | None:
    """Undo the person's last change of their label of a key, and answer their label after that.

    What was said before is said again, by a new label; where nothing was, the label is taken back. Undoing twice brings
    the change back.

    Raises:
        NoLabel: the person has never labelled the key.
        LabelChanged: their current label is not the one of the id `based_on`, 0 for none.
    """
    mine = (*_about(target), Label.person == person)
    ended_last = select(Label).where(*mine).order_by(Label.superseded_at.desc(), *_LATEST_FIRST).limit(1)
    last = current_label(session, target, person) or session.scalars(ended_last).first()
    if last is None:
        raise NoLabel(f"{person} has never labelled {target.key}")
    current = last.id if last.current else 0
    _check_unchanged(target, current, based_on)
    before = last if not current else _latest(session, *mine, _before(last))
    if before is None or (current and before.retracted):
        retract_label(session, target, person, based_on=current)
        return None
    return put_label(session, target, person, judgement_of(before), based_on=current)


def judgement_of(label: Label) -> Judgement:
    """What a label says."""
    evidence = [Evidence.model_validate(each) for each in label.evidence]
    return Judgement(label.kind, label.description, label.confidence, label.tags, evidence)


def known_tags(session: Session, weights_sha256: str, limit: int = 100) -> list[tuple[str, int]]:
    """Tags of the latest labels of a model's keys, the commonest first, and how many labels have each."""
    latest = (
        select(Label.tags)
        .where(Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None))
        .where(func.json_array_length(Label.tags) > 0)
        .order_by(Label.id.desc())
        .limit(TAGGED)
    )
    counts = Counter(tag for tags in session.scalars(latest) for tag in tags)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def is_basket_id(text: str) -> bool:
    """Whether a text is what baskets are saved under, which no key is called."""
    return _BASKET_ID.fullmatch(text) is not None


def save_basket(session: Session, masks: Sequence[Mask]) -> Basket:
    """Save a basket under the id that its content gives it; the same masks in the same order are one basket."""
    text = format_basket(masks)
    name = hashlib.sha256(text.encode()).hexdigest()[:20]
    return session.merge(Basket(id=name, masks=text, created_at=datetime.now(UTC)))


def load_basket(session: Session, name: str) -> list[Mask]:
    """The masks of a saved basket.

    Raises:
        UnknownBasket: there is none of that id.
    """
    basket = session.get(Basket, name)
    if basket is None:
        raise UnknownBasket(f"there is no saved basket {name!r}: save one by POST, or write its keys into the address")
    return parse_basket(basket.masks)


def _about(target: Target) -> tuple[ColumnElement[bool], ...]:
    return (
        Label.weights_sha256 == target.weights_sha256,
        Label.layer == target.key.layer,
        Label.key_index == target.key.index,
    )


def _before(label: Label) -> ColumnElement[bool]:
    return tuple_(Label.created_at, Label.id) < (label.created_at, label.id)


def _latest(session: Session, *where: ColumnElement[bool]) -> Label | None:
    return session.scalars(select(Label).where(*where).order_by(*_LATEST_FIRST).limit(1)).first()


def _close(session: Session, target: Target, person: str, retracted: bool) -> tuple[int, datetime]:
    """The id of the current label, which is so no more, 0 where there was none; and the moment it happened."""
    now = datetime.now(UTC)
    # A clock may run behind the one that the label's time was taken from; its history must not run backwards.
    moment = case((Label.created_at > now, Label.created_at), else_=now)
    # The first statement is a write, so SQLite takes its lock here and two writers wait instead of failing.
    closed = session.execute(
        update(Label)
        .where(*_about(target), Label.person == person, Label.superseded_at.is_(None))
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
        f"your label of {target.key} has changed: this change is based on {started}, and there is {found} now; "
        "read it, then send the change again with what it is based on"
    )
