import gc
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from keyscope.app.accounts.identity import Person
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import adjudication, leases, lists, repository
from keyscope.app.labels.models import Kind
from keyscope.app.labels.queue import ORDERS_KEPT, Strategy, Wanted, _whole, next_key
from keyscope.app.labels.repository import Judgement, Target
from keyscope.app.queries import orders
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.contract.keys import KeyId

Give = Callable[..., None]
SAMPLE = Wanted(Strategy.SAMPLE, people=1, calibration=0)


@pytest.fixture
def weights(alpha: Run) -> str:
    return alpha.manifest.model.weights_sha256


@pytest.fixture
def give(database: Database, weights: str) -> Give:
    def give(key: KeyId, person: str, kind: Kind = Kind.MIXED, confidence: float | None = None) -> None:
        judgement = Judgement(kind, confidence=confidence)
        database.write(lambda session: repository.put_label(session, Target(weights, key), person, judgement))

    return give


@pytest.fixture
def lively(alpha: Run) -> list[KeyId]:
    """Keys of the run that fire."""
    with alpha.reading() as cursor:
        found = cursor.execute('SELECT layer, "index" FROM keys WHERE NOT dead').fetchall()
    return [KeyId(*row) for row in found]


def all_keys(database: Database, run: Run, wanted: Wanted, person: str) -> list[KeyId]:
    """Every key the queue gives a person who answers none of them."""
    given = []
    while (offer := next_key(database, run, wanted, person)).key:
        assert offer.key not in given, f"{offer.key} is given twice"
        given.append(offer.key)
    return given


def test_the_sample_goes_through_the_layers_in_turn(alpha: Run, lively: list[KeyId]):
    with alpha.reading() as cursor:
        sample = [orders.key_of(number) for number in orders.sampled(cursor, 0).tolist()]
    assert sorted(sample) == sorted(lively)
    both = 2 * min(sum(key.layer == layer for key in lively) for layer in (0, 1))
    assert both > 4
    assert [key.layer for key in sample[:both]] == [0, 1] * (both // 2)


def test_the_sample_is_the_same_for_the_same_seed_alone(alpha: Run):
    with alpha.reading() as cursor:
        first, again, other = (orders.sampled(cursor, seed).tolist() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_the_queue_of_high_impact_begins_with_the_strongest_key(database: Database, alpha: Run):
    with alpha.reading() as cursor:
        rows = cursor.execute('SELECT layer, "index" FROM keys WHERE NOT dead ORDER BY contribution DESC').fetchall()
    given = all_keys(database, alpha, Wanted(Strategy.IMPACT), "Ada")
    assert given == [KeyId(*row) for row in rows]


def test_everybody_is_given_other_keys(database: Database, alpha: Run, lively: list[KeyId]):
    first = next_key(database, alpha, SAMPLE, "Ada").key
    second = next_key(database, alpha, SAMPLE, "Ben").key
    third = next_key(database, alpha, SAMPLE, "Ada").key
    assert len({first, second, third}) == 3
    rest = all_keys(database, alpha, SAMPLE, "Cleo")
    assert len(rest) == len(lively) - 3
    assert next_key(database, alpha, SAMPLE, "Cleo").left == len(lively)


def test_many_who_ask_at_once_are_given_other_keys(database: Database, alpha: Run, lively: list[KeyId]):
    given: list[KeyId | None] = []
    start = threading.Barrier(8)

    def ask(person: str) -> None:
        start.wait()
        given.append(next_key(database, alpha, SAMPLE, person).key)

    threads = [threading.Thread(target=ask, args=(f"person {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in given
    assert len(set(given)) == 8


def test_a_labelled_key_is_not_offered_again(database: Database, alpha: Run, lively: list[KeyId], give: Give):
    give(lively[0], "Ada")
    give(lively[1], "Ben")
    assert set(all_keys(database, alpha, SAMPLE, "Ada")) == set(lively[2:])


def test_a_key_may_be_labelled_by_several_people(database: Database, alpha: Run, lively: list[KeyId], give: Give):
    give(lively[0], "Ada")
    give(lively[1], "Ben")
    give(lively[1], "Cleo")
    given = all_keys(database, alpha, Wanted(Strategy.SAMPLE, people=2, calibration=0), "Dan")
    assert set(given) == set(lively) - {lively[1]}


def test_everybody_labels_the_calibration_keys_before_the_sample_is_shared_out(
    database: Database, alpha: Run, give: Give
):
    with alpha.reading() as cursor:
        sample = [orders.key_of(number) for number in orders.sampled(cursor, 0).tolist()]
    for person in ("Ada", "Ben"):
        for key in sample[:5]:
            give(key, person)
    wanted = Wanted(Strategy.SAMPLE, people=2, calibration=3)
    assert all_keys(database, alpha, wanted, "Cleo") == [*sample[:3], *sample[5:]]
    assert next_key(database, alpha, wanted, "Ada").left == len(sample) - 5, "one's own are done"


def test_the_queue_of_high_impact_has_no_calibration_keys(database: Database, alpha: Run, give: Give):
    first = all_keys(database, alpha, Wanted(Strategy.IMPACT), "Dan")[0]
    for person in ("Ada", "Ben"):
        give(first, person)
    assert first not in all_keys(database, alpha, Wanted(Strategy.IMPACT, calibration=3), "Cleo")


def test_what_was_skipped_is_offered_to_others(database: Database, alpha: Run, weights: str, lively: list[KeyId]):
    database.write(lambda session: leases.skip(session, Target(weights, lively[3]), "Ada"))
    assert lively[3] not in all_keys(database, alpha, SAMPLE, "Ada")
    assert next_key(database, alpha, SAMPLE, "Ben").key == lively[3]


def test_people_disagree_where_their_kinds_differ(
    database: Database, alpha: Run, lively: list[KeyId], give: Give, monkeypatch: pytest.MonkeyPatch
):
    disputed, agreed, alone = lively[:3]
    give(disputed, "Ada", Kind.SYNTACTIC)
    give(disputed, "Ben", Kind.SEMANTIC)
    give(agreed, "Ada", Kind.MIXED)
    give(agreed, "Ben", Kind.MIXED)
    give(alone, "Ada", Kind.SYNTACTIC)
    wanted = Wanted(Strategy.DISAGREEING)
    assert next_key(database, alpha, wanted, "Ada").key is None, "Ada has looked at it today"
    assert all_keys(database, alpha, wanted, "Cleo") == [disputed]
    monkeypatch.setattr(leases, "SKIPPED", timedelta(seconds=-1))
    database.write(
        lambda session: leases.release(session, Target(alpha.manifest.model.weights_sha256, disputed), "Cleo")
    )
    assert all_keys(database, alpha, wanted, "Ada") == [disputed]


def test_what_was_decided_is_no_longer_in_dispute(
    database: Database, alpha: Run, weights: str, lively: list[KeyId], give: Give
):
    give(lively[0], "Ada", Kind.SYNTACTIC)
    give(lively[0], "Ben", Kind.SEMANTIC)
    wanted = Wanted(Strategy.DISAGREEING)
    for seen, kind, left in ((0, Kind.MIXED, 0), (1, None, 1)):
        database.write(
            lambda session, seen=seen, kind=kind: adjudication.decide(
                session, Target(weights, lively[0]), "Cleo", kind, "", seen
            )
        )
        assert next_key(database, alpha, wanted, "Cleo").left == left


def test_the_least_sure_labels_come_first(database: Database, alpha: Run, lively: list[KeyId], give: Give):
    for key, confidence in zip(lively, (0.5, 0.25, 0.75, None), strict=False):
        give(key, "Ada", confidence=confidence)
    assert all_keys(database, alpha, Wanted(Strategy.UNSURE), "Ben") == [lively[1], lively[0]]


def test_a_list_is_gone_through_in_its_order_by_everybody(
    database: Database, alpha: Run, weights: str, lively: list[KeyId], give: Give
):
    keys = [lively[4], lively[0], lively[2]]
    owner = Person("Ada", Role.LABELER)
    made = database.write(lambda session: lists.make_list(session, owner, weights, "strange", keys, shared=True))
    give(lively[4], "Ben")
    wanted = Wanted(Strategy.LIST, list_id=made.id)
    assert all_keys(database, alpha, wanted, "Ben") == keys[1:]
    assert next_key(database, alpha, wanted, "Cleo").key == lively[4]


def test_a_list_has_to_be_given_and_to_be_about_the_model(database: Database, alpha: Run):
    owner = Person("Ada", Role.LABELER)
    made = database.write(lambda session: lists.make_list(session, owner, "b" * 64, "elsewhere", [KeyId(0, 0)]))
    with pytest.raises(InvalidParameter, match="needs a list"):
        next_key(database, alpha, Wanted(Strategy.LIST), "Ada")
    with pytest.raises(InvalidParameter, match="another model"):
        next_key(database, alpha, Wanted(Strategy.LIST, list_id=made.id), "Ada")


def test_remembered_orders_let_go_of_a_run_and_are_few(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counter[int]()
    sampled = orders.sampled

    def counting(cursor: duckdb.DuckDBPyConnection, seed: int) -> orders.KeyOrder:
        counted[seed] += 1
        return sampled(cursor, seed)

    monkeypatch.setattr(orders, "sampled", counting)
    run = Registry(runs_dir).get("alpha")
    for seed in (0, 0, *range(1, ORDERS_KEPT), 0, ORDERS_KEPT, 0):
        assert len(_whole(run, seed)) > 0
    assert counted == {0: 2} | dict.fromkeys(range(1, ORDERS_KEPT + 1), 1)
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None
