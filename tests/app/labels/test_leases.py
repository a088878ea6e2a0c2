import threading
from datetime import UTC, datetime, timedelta

import pytest

from keyscope.app.database.engine import Database
from keyscope.app.labels import leases
from keyscope.app.labels.repository import Target
from keyscope.contract.keys import KeyId

TARGET = Target("a" * 64, KeyId(1, 2))
OTHER = Target("a" * 64, KeyId(1, 3))


def take(database: Database, person: str, target: Target = TARGET) -> datetime | None:
    return database.write(lambda session: leases.take(session, target, person))


def leased(database: Database) -> set[KeyId]:
    return database.read(lambda session: leases.leased(session, TARGET.weights_sha256))


def test_a_key_is_leased_to_one_person_at_a_time(database: Database):
    before = datetime.now(UTC)
    expires = take(database, "Ada")
    assert expires is not None
    assert before <= expires - leases.LEASE <= datetime.now(UTC)
    assert take(database, "Ben") is None
    assert take(database, "Ben", OTHER) is not None
    assert leased(database) == {TARGET.key, OTHER.key}
    assert database.read(lambda session: leases.holder(session, TARGET)) == "Ada"


def test_a_lease_is_renewed_by_its_holder(database: Database):
    first = take(database, "Ada")
    second = take(database, "Ada")
    assert first is not None
    assert second is not None
    assert second > first


def test_an_expired_lease_is_anybodys(database: Database, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(leases, "LEASE", timedelta(seconds=-1))
        take(database, "Ada")
    assert leased(database) == set()
    assert database.read(lambda session: leases.holder(session, TARGET)) is None
    assert take(database, "Ben") is not None
    assert take(database, "Ada") is None


def test_a_key_is_given_back_by_its_holder_alone(database: Database):
    take(database, "Ada")
    database.write(lambda session: leases.release(session, TARGET, "Ben"))
    assert take(database, "Ben") is None
    database.write(lambda session: leases.release(session, TARGET, "Ada"))
    assert take(database, "Ben") is not None


def test_of_many_who_want_a_key_at_once_one_gets_it(database: Database):
    got: list[str] = []
    start = threading.Barrier(12)

    def want(person: str) -> None:
        start.wait()
        if take(database, person):
            got.append(person)

    threads = [threading.Thread(target=want, args=(f"person {number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_skipped_key_is_given_back_and_remembered_for_its_person(database: Database):
    take(database, "Ada")
    for _ in range(2):
        database.write(lambda session: leases.skip(session, TARGET, "Ada"))
    weights = TARGET.weights_sha256
    assert database.read(lambda session: leases.skipped(session, weights, "Ada")) == {TARGET.key}
    assert database.read(lambda session: leases.skipped(session, weights, "Ben")) == set()
    assert take(database, "Ben") is not None


def test_a_skip_is_forgotten_the_next_day(database: Database, monkeypatch: pytest.MonkeyPatch):
    database.write(lambda session: leases.skip(session, TARGET, "Ada"))
    monkeypatch.setattr(leases, "SKIPPED", timedelta(seconds=-1))
    assert database.read(lambda session: leases.skipped(session, TARGET.weights_sha256, "Ada")) == set()
