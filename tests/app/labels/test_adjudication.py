import threading
from datetime import datetime, timedelta, tzinfo

import pytest

from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import adjudication, repository
from keyscope.app.labels import annotator_agreement as agreement
from keyscope.app.labels.adjudication import AdjudicationChanged
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.contract.keys import KeyId

WEIGHTS = "a" * 64
TARGET = Target(WEIGHTS, KeyId(1, 2))


def label(database: Database, person: str, kind: Kind, target: Target = TARGET) -> None:
    database.write(lambda session: repository.put_label(session, target, person, Judgement(kind)))


def decide(database: Database, kind: Kind | None, seen: int, person: str = "Eve") -> None:
    database.write(lambda session: adjudication.decide(session, TARGET, person, kind, "both, really", seen))


def test_a_decision_stands_beside_the_labels(database: Database):
    label(database, "Ada", Kind.SYNTACTIC)
    label(database, "Ben", Kind.SEMANTIC)
    decide(database, Kind.MIXED, seen=0)
    with database.transaction() as session:
        assert [each.kind for each in repository.current_labels(session, TARGET)] == [Kind.SYNTACTIC, Kind.SEMANTIC]
        [found] = adjudication.disagreements(session, WEIGHTS, agreement.load(session, WEIGHTS))
    assert found.key == TARGET.key
    assert list(found.labels) == [("Ada", Kind.SYNTACTIC), ("Ben", Kind.SEMANTIC)]
    assert found.decision is not None
    assert (found.decision.kind, found.decision.person, found.decision.description) == (
        Kind.MIXED,
        "Eve",
        "both, really",
    )


def test_only_current_labels_of_these_weights_disagree(database: Database):
    label(database, "Ada", Kind.SYNTACTIC)
    label(database, "Ben", Kind.SEMANTIC)
    label(database, "Ben", Kind.SYNTACTIC)
    label(database, "Cyd", Kind.SEMANTIC, Target("b" * 64, TARGET.key))
    label(database, "Cyd", Kind.SEMANTIC, Target(WEIGHTS, KeyId(1, 3)))
    with database.transaction() as session:
        assert adjudication.disagreements(session, WEIGHTS, agreement.load(session, WEIGHTS)) == []


def test_decisions_never_run_backwards(database: Database, monkeypatch: pytest.MonkeyPatch):
    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    decide(database, Kind.MIXED, seen=0)
    monkeypatch.setattr(adjudication, "datetime", Behind)
    decide(database, Kind.SEMANTIC, seen=1)
    with database.transaction() as session:
        later, earlier = adjudication.decisions(session, TARGET)
    assert later.created_at == earlier.created_at


def test_a_later_decision_is_in_force_and_the_earlier_one_is_kept(database: Database):
    label(database, "Ada", Kind.SYNTACTIC)
    label(database, "Ben", Kind.SEMANTIC)
    decide(database, Kind.MIXED, seen=0)
    decide(database, Kind.SEMANTIC, seen=1)
    with database.transaction() as session:
        assert [each.kind for each in adjudication.decisions(session, TARGET)] == [Kind.SEMANTIC, Kind.MIXED]
        assert [each.kind for each in adjudication.in_force(session, WEIGHTS)] == [Kind.SEMANTIC]
    decide(database, None, seen=2)
    with database.transaction() as session:
        assert list(adjudication.in_force(session, WEIGHTS)) == []
        [found] = adjudication.disagreements(session, WEIGHTS, agreement.load(session, WEIGHTS))
        assert found.decision is None


def test_a_decision_by_who_has_not_seen_the_last_one_is_refused(database: Database):
    decide(database, Kind.MIXED, seen=0)
    with pytest.raises(AdjudicationChanged, match="Eve decided mixed"):
        decide(database, Kind.SEMANTIC, seen=0)


def test_of_two_who_decide_at_once_one_is_told(database: Database):
    outcomes: list[str] = []
    ready = threading.Barrier(4)

    def act(number: int) -> None:
        ready.wait()
        try:
            decide(database, Kind.MIXED, seen=0, person=f"person {number}")
            outcomes.append("decided")
        except AdjudicationChanged:
            outcomes.append("told")

    threads = [threading.Thread(target=act, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["decided", "told", "told", "told"]


@pytest.mark.parametrize("description", ["x" * 4001, "a\0"])
def test_a_reason_that_cannot_be_kept_is_refused(database: Database, description: str):
    with pytest.raises(InvalidParameter):
        database.write(lambda s: adjudication.decide(s, TARGET, "Eve", Kind.MIXED, description, 0))
