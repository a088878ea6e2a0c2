"""Leases on keys: while one person labels a key, the queue offers it to nobody else."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Row, delete, or_, select
from sqlalchemy.orm import Session

from keyscope.app.database.statements import insert_into
from keyscope.app.labels.models import Lease, Skip
from keyscope.app.labels.repository import Target
from keyscope.contract.keys import KeyId, Stack

LEASE = timedelta(minutes=5)
"""How long a key is held for a person who shows no activity."""
SKIPPED = timedelta(hours=16)
"""How long a skipped key is not offered again: the rest of the day."""


def take(session: Session, target: Target, person: str) -> datetime | None:
    """Take or renew a person's lease on a key; return when it expires, None if somebody else holds it."""
    now = datetime.now(UTC)
    values = {"person": person, "expires_at": now + LEASE}
    statement = insert_into(session, Lease).values(**target.columns, **values)
    # One statement, so two people who ask at the same moment cannot both get the key.
    mine = statement.on_conflict_do_update(
        index_elements=[Lease.weights_sha256, Lease.layer, Lease.key_index, Lease.stack],
        set_=values,
        where=or_(Lease.person == person, Lease.expires_at <= now),
    )
    return session.scalar(mine.returning(Lease.expires_at))


def release(session: Session, target: Target, person: str) -> None:
    """Return a key before its lease expires; do nothing if the person does not hold it."""
    session.execute(delete(Lease).where(*target.rows_of(Lease), Lease.person == person))


def holder(session: Session, target: Target) -> str | None:
    """The person who holds a key now."""
    return session.scalar(select(Lease.person).where(*target.rows_of(Lease), Lease.expires_at > datetime.now(UTC)))


def leased(session: Session, weights_sha256: str) -> set[KeyId]:
    """All keys of a model that somebody holds now."""
    taken = select(Lease.layer, Lease.key_index, Lease.stack)
    now = datetime.now(UTC)
    return _keys(session.execute(taken.where(Lease.weights_sha256 == weights_sha256, Lease.expires_at > now)))


def skip(session: Session, target: Target, person: str) -> None:
    """Do not offer a key to this person again today, and release it."""
    now = datetime.now(UTC)
    statement = insert_into(session, Skip).values(**target.columns, person=person, skipped_at=now)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Skip.weights_sha256, Skip.person, Skip.layer, Skip.key_index, Skip.stack],
            set_={"skipped_at": now},
        )
    )
    release(session, target, person)


def skipped(session: Session, weights_sha256: str, person: str) -> set[KeyId]:
    """All keys of a model that the person has skipped today."""
    since = datetime.now(UTC) - SKIPPED
    chosen = select(Skip.layer, Skip.key_index, Skip.stack)
    chosen = chosen.where(Skip.weights_sha256 == weights_sha256, Skip.person == person)
    return _keys(session.execute(chosen.where(Skip.skipped_at > since)))


def _keys(rows: Iterable[Row[int, int, Stack]]) -> set[KeyId]:
    return {KeyId(*row) for row in rows}
