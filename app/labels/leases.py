"""Leases on keys: while a person labels a key, the queue gives it to nobody else."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Row, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from keyscope.app.labels.models import Base, Lease, Skip
from keyscope.app.labels.repository import Target
from keyscope.contract.keys import KeyId

LEASE = timedelta(minutes=5)
"""How long a key is kept for a person who gives no sign of life."""
SKIPPED = timedelta(hours=16)
"""How long a key that was skipped is not offered again: the rest of the day."""


def take(session: Session, target: Target, person: str) -> datetime | None:
    """Take or renew a person's lease on a key; answers when it expires, None where somebody else has the key."""
    now = datetime.now(UTC)
    values = {"person": person, "expires_at": now + LEASE}
    insert = _insert(session, Lease).values(**_place(target), **values)
    mine = insert.on_conflict_do_update(
        index_elements=[Lease.weights_sha256, Lease.layer, Lease.key_index],
        set_=values,
        where=or_(Lease.person == person, Lease.expires_at <= now),
    )
    return session.scalar(mine.returning(Lease.expires_at))


def release(session: Session, target: Target, person: str) -> None:
    """Give a key back before its lease expires; one that the person does not have stays as it is."""
    session.execute(delete(Lease).where(*_of(target), Lease.person == person))


def holder(session: Session, target: Target) -> str | None:
    """Who has a key now."""
    return session.scalar(select(Lease.person).where(*_of(target), Lease.expires_at > datetime.now(UTC)))


def leased(session: Session, weights_sha256: str) -> set[KeyId]:
    """Every key of a model that somebody has now."""
    taken = select(Lease.layer, Lease.key_index)
    now = datetime.now(UTC)
    return _keys(session.execute(taken.where(Lease.weights_sha256 == weights_sha256, Lease.expires_at > now)))


def skip(session: Session, target: Target, person: str) -> None:
    """Remember that a person does not want to label a key today, and give it back."""
    insert = _insert(session, Skip).values(**_place(target), person=person, skipped_at=datetime.now(UTC))
    session.execute(
        insert.on_conflict_do_update(
            index_elements=[Skip.weights_sha256, Skip.person, Skip.layer, Skip.key_index],
            set_={"skipped_at": insert.excluded.skipped_at},
        )
    )
    release(session, target, person)


def skipped(session: Session, weights_sha256: str, person: str) -> set[KeyId]:
    """Every key of a model that a person has skipped today."""
    since = datetime.now(UTC) - SKIPPED
    chosen = select(Skip.layer, Skip.key_index).where(Skip.weights_sha256 == weights_sha256, Skip.person == person)
    return _keys(session.execute(chosen.where(Skip.skipped_at > since)))


def _insert(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An insert that may say what to do where the row is there already."""
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)


def _place(target: Target) -> dict[str, object]:
    return {"weights_sha256": target.weights_sha256, "layer": target.key.layer, "key_index": target.key.index}


def _of(target: Target) -> tuple[ColumnElement[bool], ...]:
    return (
        Lease.weights_sha256 == target.weights_sha256,
        Lease.layer == target.key.layer,
        Lease.key_index == target.key.index,
    )


def _keys(rows: Iterable[Row[int, int]]) -> set[KeyId]:
    return {KeyId(layer, index) for layer, index in rows}
