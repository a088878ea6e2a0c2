"""Labels and baskets read and written; only this module speaks to the session."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labels.models import Basket, Evidence, Kind, Label
from contract.keys import KeyId, Mask, format_basket, parse_basket


class NoLabel(NotFound):
    """A person has no current label of a key."""

    code = "no_label"


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
    return list(session.scalars(select(Label).where(*_about(target)).order_by(Label.id.desc())))


def all_labels(session: Session, weights_sha256: str | None = None, current: bool = False) -> Iterator[Label]:
    """Every label in the order they were given; of one model's weights, or only current ones, where asked for."""
    chosen = select(Label).order_by(Label.id)
    if weights_sha256 is not None:
        chosen = chosen.where(Label.weights_sha256 == weights_sha256)
    if current:
        chosen = chosen.where(Label.superseded_at.is_(None))
    yield from session.scalars(chosen.execution_options(yield_per=1000))


def put_label(session: Session, target: Target, person: str, judgement: Judgement) -> Label:
    """Make this the person's current label of a key; the one before stays in the history."""
    now = datetime.now(UTC)
    _close(session, target, person, now, retracted=False)
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


def retract_label(session: Session, target: Target, person: str) -> None:
    """Take a person's current label of a key back; it stays in the history.

    Raises:
        NoLabel: there is none.
    """
    if not _close(session, target, person, datetime.now(UTC), retracted=True):
        raise NoLabel(f"{person} has no label on {target.key}")


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


def _close(session: Session, target: Target, person: str, now: datetime, retracted: bool) -> bool:
    # The first statement is a write, so SQLite takes its lock here and two writers wait instead of failing.
    closed = session.scalars(
        update(Label)
        .where(*_about(target), Label.person == person, Label.superseded_at.is_(None))
        .values(superseded_at=now, retracted=retracted)
        .returning(Label.id)
    )
    return closed.first() is not None
