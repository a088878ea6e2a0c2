"""How much people have labelled, and how fast."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from keyscope.app.labels.models import Label

GAPS = 20
"""Gaps between labels that a pace rests on."""
PAUSE = timedelta(minutes=2)
"""A longer gap is a break and does not count."""
_READ = 100
"""Latest labels of a person in which gaps are looked for."""


@dataclass(frozen=True, slots=True)
class Done:
    """A person's current labels of a model's keys."""

    person: str
    today: int
    """Those given since midnight UTC."""
    total: int


def done(session: Session, weights_sha256: str) -> list[Done]:
    """The number of current labels of everybody who has any, by name."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = func.sum(case((Label.created_at >= midnight, 1), else_=0))
    chosen = (
        select(Label.person, today, func.count())
        .where(Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None))
        .group_by(Label.person)
        .order_by(Label.person)
    )
    return [Done(*row) for row in session.execute(chosen)]


def done_by(session: Session, weights_sha256: str, person: str) -> int:
    """The number of a person's current labels of a model's keys."""
    mine = Label.weights_sha256 == weights_sha256, Label.person == person, Label.superseded_at.is_(None)
    return session.scalar(select(func.count()).select_from(Label).where(*mine)) or 0


def pace(session: Session, weights_sha256: str, person: str) -> float | None:
    """Seconds a person takes for a key: the median of the last gaps between their labels, breaks left out.

    None if there is no such gap.
    """
    mine = Label.weights_sha256 == weights_sha256, Label.person == person
    latest = select(Label.created_at).where(*mine).order_by(Label.created_at.desc()).limit(_READ)
    return _median_gap(session.scalars(latest).all())


def _median_gap(moments: Sequence[datetime]) -> float | None:
    """The median gap in seconds between times, the latest first."""
    gaps = [later - earlier for later, earlier in pairwise(moments)]
    counted = [gap.total_seconds() for gap in gaps if timedelta(0) < gap <= PAUSE][:GAPS]
    return statistics.median(counted) if counted else None
