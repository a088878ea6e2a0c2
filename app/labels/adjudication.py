"""Decisions on keys that people disagree about; they stand beside the labels and change none of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import repository
from keyscope.app.labels.annotator_agreement import CurrentLabels
from keyscope.app.labels.fields import LONGEST_DESCRIPTION
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId


class AdjudicationChanged(KeyscopeError, status=409):
    """Somebody else has decided on the key in the meantime."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A key whose current labels are of different kinds."""

    key: KeyId
    labels: Sequence[tuple[str, Kind]]
    """Person and kind, sorted by person."""
    decision: Adjudication | None
    """The decision in force."""
    seen: int
    """Number of the latest decision, in force or not; 0 for none."""


def decisions(session: Session, target: Target) -> Sequence[Adjudication]:
    """Every decision on a key, the latest first; the first one is in force."""
    chosen = select(Adjudication).where(*target.rows_of(Adjudication))
    return session.scalars(chosen.order_by(Adjudication.number.desc())).all()


def decide(
    session: Session, target: Target, person: str, kind: Kind | None, description: str, seen: int
) -> Adjudication:
    """Decide on a key, or reopen it with kind None; `seen` is the number of the last decision seen, 0 for none.

    The database keeps the numbers of a key unique, so only one of two simultaneous decisions is stored.

    Raises:
        AdjudicationChanged: there is a later decision than `seen`.
        InvalidParameter: the description is too long.
    """
    latest = next(iter(decisions(session, target)), None)
    number = latest.number if latest else 0
    if number != seen:
        now_is = f"{latest.person} decided {latest.kind or 'to reopen it'}" if latest else "nobody has decided"
        raise AdjudicationChanged(
            f"the decision on {target.key} has changed: {now_is}; look at the key again, then decide"
        )
    now = datetime.now(UTC)
    made = Adjudication(
        **target.columns,
        number=number + 1,
        person=person,
        kind=kind,
        description=_description(description),
        # This server's clock may be behind the one that timed the previous decision; exports are ordered by time.
        created_at=max(now, latest.created_at) if latest else now,
    )
    session.add(made)
    session.flush()
    return made


def disagreements(session: Session, weights_sha256: str, current: CurrentLabels) -> list[Disagreement]:
    """Every key whose current labels are of different kinds, by layer and index."""
    latest = {each.key: each for each in session.scalars(_select_latest(weights_sha256))}
    return [_disagreement(key, labels, latest.get(key)) for key, labels in current.disputed()]


def disagreement_on(session: Session, target: Target) -> Disagreement:
    """What people say about one key and what was decided, whether they still disagree or not."""
    labels = [(label.person, label.kind) for label in repository.current_labels(session, target)]
    return _disagreement(target.key, labels, next(iter(decisions(session, target)), None))


def _disagreement(key: KeyId, labels: Sequence[tuple[str, Kind]], latest: Adjudication | None) -> Disagreement:
    if latest is None:
        return Disagreement(key, labels, None, 0)
    return Disagreement(key, labels, latest if latest.kind else None, latest.number)


def in_force(session: Session, weights_sha256: str) -> Iterator[Adjudication]:
    """The latest decision on each key of a model, without keys that were reopened."""
    return iter(session.scalars(select_in_force(weights_sha256)))


def select_in_force(weights_sha256: str | None = None) -> Select[Adjudication]:
    """A query for what `in_force` returns, or for the decisions on the keys of all models."""
    return _select_latest(weights_sha256).where(Adjudication.kind.is_not(None))


def _select_latest(weights_sha256: str | None) -> Select[Adjudication]:
    """The latest decision on each key of a model or of all, those that reopen a key included."""
    later = aliased(Adjudication)
    newer = select(later.id).where(
        later.weights_sha256 == Adjudication.weights_sha256,
        later.layer == Adjudication.layer,
        later.key_index == Adjudication.key_index,
        later.stack == Adjudication.stack,
        later.number > Adjudication.number,
    )
    latest = select(Adjudication).where(~newer.exists())
    return latest if weights_sha256 is None else latest.where(Adjudication.weights_sha256 == weights_sha256)


def _description(text: str) -> str:
    description = text.strip()
    if len(description) > LONGEST_DESCRIPTION or "\0" in description:
        raise InvalidParameter(
            f"a reason may have up to {LONGEST_DESCRIPTION:,} characters and no NUL; this one has {len(description):,}"
        )
    return description
