"""What people have labelled and their pace, on both kinds of database."""

from datetime import UTC, datetime, timedelta

import pytest

from keyscope.app.database.engine import Database
from keyscope.app.labels import progress, repository
from keyscope.app.labels.models import Kind
from keyscope.app.labels.progress import GAPS, Done
from keyscope.app.labels.repository import Judgement, Target
from keyscope.contract.keys import KeyId

WEIGHTS = "a" * 64


def label_at(database: Database, person: str, *moments: datetime, weights: str = WEIGHTS) -> None:
    """A label of another key at each of these times."""

    def give(session):
        for index, moment in enumerate(moments):
            target = Target(weights, KeyId(0, index))
            label = repository.put_label(session, target, person, Judgement(Kind.MIXED))
            label.created_at = moment

    database.write(give)


def pace(database: Database, person: str) -> float | None:
    return database.read(lambda session: progress.pace(session, WEIGHTS, person))


def test_labels_are_counted_by_person_today_and_in_all(database: Database) -> None:
    now = datetime.now(UTC)
    label_at(database, "Ben", now - timedelta(days=2), now - timedelta(days=1), now)
    label_at(database, "Ada", now)
    label_at(database, "Cyd", now, weights="b" * 64)
    database.write(lambda session: repository.retract_label(session, Target(WEIGHTS, KeyId(0, 0)), "Ada"))
    assert database.read(lambda session: progress.done(session, WEIGHTS)) == [Done("Ben", 1, 3)]
    for person, count in (("Ben", 3), ("Ada", 0)):
        assert database.read(lambda session, person=person: progress.done_by(session, WEIGHTS, person)) == count


def test_the_pace_is_the_median_gap_without_breaks(database: Database) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seconds = [0, 8, 18, 18 + 121, 139 + 500, 639 + 12]
    label_at(database, "Ada", *(start + timedelta(seconds=each) for each in seconds))
    label_at(database, "Ben", start + timedelta(seconds=1))
    assert pace(database, "Ada") == pytest.approx(10)
    assert pace(database, "Ben") is None
    assert pace(database, "nobody") is None


def test_only_the_latest_gaps_count(database: Database) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    slow = [100 * each for each in range(30)]
    fast = [slow[-1] + 5 * each for each in range(1, GAPS + 1)]
    label_at(database, "Ada", *(start + timedelta(seconds=each) for each in slow + fast))
    assert pace(database, "Ada") == pytest.approx(5)
