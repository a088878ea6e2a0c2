"""The codebook, on both kinds of database."""

import threading

import pytest

from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import codebook
from keyscope.app.labels.codebook import SHIPPED, CodebookChanged, Entry, Words
from keyscope.app.labels.models import Kind

WEIGHTS, OTHER = "a" * 64, "b" * 64


def change(database: Database, said: Words, seen: int, weights: str | None = WEIGHTS, person: str = "Ada") -> None:
    database.write(lambda session: codebook.change(session, weights, Kind.MIXED, person, said, seen))


def entry(database: Database, weights: str | None = WEIGHTS) -> Entry:
    [found] = [
        each for each in database.read(lambda session: codebook.entries(session, weights)) if each.kind == "mixed"
    ]
    return found


def test_every_kind_has_one_sentence_from_the_start(database: Database) -> None:
    found = database.read(lambda session: codebook.entries(session, WEIGHTS))
    assert [each.kind for each in found] == list(Kind)
    assert found == [Entry(kind, Words(SHIPPED[kind])) for kind in Kind]
    assert all(each.count(".") == 1 and each.endswith(".") for each in SHIPPED.values())


def test_definitions_hold_for_all_models_and_keys_for_one(database: Database) -> None:
    change(database, Words("both", "L1.K2", "L0.K3"), 0)
    change(database, Words("both, really", "L1.K9"), 1, OTHER, "Ben")
    mine, other, none = entry(database), entry(database, OTHER), entry(database, None)
    assert mine.words == Words("both, really", "L1.K2", "L0.K3")
    assert other.words == Words("both, really", "L1.K9")
    assert none.words == Words("both, really")
    assert (mine.version, mine.person) == (other.version, other.person) == (2, "Ben")
    assert [(each.number, each.person) for each in database.read(codebook.history)] == [(2, "Ben"), (1, "Ada")]


def test_a_change_of_what_has_changed_is_refused(database: Database) -> None:
    with pytest.raises(CodebookChanged, match="it is as shipped"):
        change(database, Words("both"), 1)
    change(database, Words("both"), 0)
    with pytest.raises(CodebookChanged, match="Ada wrote version 1"):
        change(database, Words("neither"), 0)
    assert entry(database).words.definition == "both"


def test_of_two_changes_at_once_one_is_saved(database: Database) -> None:
    refused: list[CodebookChanged] = []
    start = threading.Barrier(4)

    def write(person: str) -> None:
        start.wait()
        try:
            change(database, Words(f"as {person} says"), 0, person=person)
        except CodebookChanged as error:
            refused.append(error)

    threads = [threading.Thread(target=write, args=(f"person {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), entry(database).version) == (3, 1)


def test_keys_need_the_model_they_belong_to(database: Database) -> None:
    with pytest.raises(InvalidParameter, match="naming a run"):
        change(database, Words("both", "L1.K2"), 0, weights=None)
    change(database, Words("both"), 0, weights=None)
    assert entry(database).version == 1
