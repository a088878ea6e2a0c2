"""Decisions on keys that people disagree about; they stand beside the labels and change none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.annotator_agreement import Said
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId

LONGEST_DESCRIPTION = 4000


class AdjudicationChanged(KeyscopeError):
    """Somebody decided on the key since it was looked at."""

    code = "adjudication_changed"
    status = 409


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A key with current labels of several kinds."""

    key: KeyId
    labels: Sequence[tuple[str, Kind]]
    """Person and kind, by person."""
    decision: Adjudication | None
    """What is in force, where somebody has decided."""


def decisions(session: Session, target: Target) -> Sequence[Adjudication]:
    """Every decision on a key, the latest, which is in force, first."""
    chosen = select(Adjudication).where(
        Adjudication.weights_sha256 == target.weights_sha256,
        Adjudication.layer == target.key.layer,
        Adjudication.key_index == target.key.index,
    )
    return session.scalars(chosen.order_by(Adjudication.number.desc())).all()


def decide(
    session: Session, target: Target, person: str, kind: Kind | None, description: str, seen: int
) -> Adjudication:
    """Decide on a key, or open it again with no kind, by who saw the decision of number `seen`; 0 where there was none.

    Two who decide at once are told apart by the number, which the database keeps unique.

    Raises:
        AdjudicationChanged: there is a later decision.
        InvalidParameter: the description is too long.
    """
    latest = next(iter(decisions(session, target)), None)
    number = latest.number if latest else 0
    if number != seen:
        said = f"{latest.person} said {latest.kind or 'it is open'}" if latest else "there is none yet"
        raise AdjudicationChanged(
            f"the decision on {target.key} is another one than you saw: {said}; look at the key again, then decide"
        )
    now = datetime.now(UTC)
    made = Adjudication(
        weights_sha256=target.weights_sha256,
        layer=target.key.layer,
        key_index=target.key.index,
        number=number + 1,
        person=person,
        kind=kind,
        description=_description(description),
        # A clock may run behind the one of the decision before, and exports are in the order of time.
        created_at=max(now, latest.created_at) if latest else now,
    )
    session.add(made)
    session.flush()
    return made


def disagreements(session: Session, weights_sha256: str, said: Said) -> list[Disagreement]:
    """Every key whose current labels are of several kinds, by key."""
    decided = {each.key: each for each in in_force(session, weights_sha256)}
    return [Disagreement(key, labels, decided.get(key)) for key, labels in said.disputed()]


def in_force(session: Session, weights_sha256: str) -> Iterator[Adjudication]:
    """The latest decision on each key that has one and was not opened again."""
    later = aliased(Adjudication)
    newer = select(later.id).where(
        later.weights_sha256 == Adjudication.weights_sha256,
        later.layer == Adjudication.layer,
        later.key_index == Adjudication.key_index,
        later.number > Adjudication.number,
    )
    chosen = select(Adjudication).where(Adjudication.weights_sha256 == weights_sha256, ~newer.exists())
    return (each for each in session.scalars(chosen) if each.kind is not None)


def _description(text: str) -> str:
    description = text.strip()
    if len(description) > LONGEST_DESCRIPTION or "\0" in description:
        raise InvalidParameter(f"a reason has up to {LONGEST_DESCRIPTION:,} characters, none of them NUL")
    return description
