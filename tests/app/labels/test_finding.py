"""Keys found by the words of labels and decisions, on both kinds of database."""

import pytest

from keyscope.app.database.engine import Database
from keyscope.app.labels import adjudication, repository
from keyscope.app.labels.finding import Found, search_labels
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.contract.keys import KeyId

WEIGHTS, OTHER = "a" * 64, "b" * 64
LOOPS, NAMES, QUOTES = KeyId(0, 3), KeyId(1, 1), KeyId(1, 2)


def label(
    database: Database, key: KeyId, person: str, description: str = "", *tags: str, weights: str = WEIGHTS
) -> None:
    said = Judgement(Kind.SEMANTIC, description, tags=tags)
    database.write(lambda session: repository.put_label(session, Target(weights, key), person, said))


def decide(database: Database, key: KeyId, kind: Kind | None, description: str, seen: int = 0) -> None:
    target = Target(WEIGHTS, key)
    database.write(lambda session: adjudication.decide(session, target, "Eve", kind, description, seen))


def search(database: Database, text: str, limit: int = 50) -> list[Found]:
    return database.read(lambda session: search_labels(session, WEIGHTS, text, limit))


def keys(database: Database, text: str) -> list[KeyId]:
    return [each.key for each in search(database, text)]


def test_description_and_tags_are_found_whatever_their_case(database: Database) -> None:
    label(database, LOOPS, "Ben", "Loop over a LIST")
    label(database, NAMES, "Ada", "something else", "snake_case", "For Loop")
    label(database, QUOTES, "Ada", "quotes", "strings")
    assert keys(database, "loop") == keys(database, "  LOOP ") == [LOOPS, NAMES]
    assert search(database, "quot") == [Found(QUOTES, "Ada", Kind.SEMANTIC, "quotes", ["strings"], decided=False)]


def test_sqlite_finds_letters_beyond_ascii_whatever_their_case(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    label(database, LOOPS, "Ben", "École")
    label(database, NAMES, "Ben", "", "ÉTÉ")
    assert keys(database, "éCOLE") == [LOOPS]
    assert keys(database, "été") == [NAMES]
    database.close()


@pytest.mark.parametrize(
    ("text", "found"), [("100%", True), ("1%0", False), ("a_b", True), ("a_c", False), ("\\d", True)]
)
def test_no_character_is_a_wildcard(database: Database, text: str, found: bool) -> None:
    label(database, LOOPS, "Ben", "matches 100% of \\d", "a_b", "abc")
    assert keys(database, text) == ([LOOPS] if found else [])


@pytest.mark.parametrize("text", ["", "  ", '"', "[", ", ", "\\u"])
def test_what_nobody_wrote_is_not_found(database: Database, text: str) -> None:
    label(database, LOOPS, "Ben", "loops", "é", "b")
    assert keys(database, text) == []


def test_only_current_labels_of_the_weights_are_searched(database: Database) -> None:
    label(database, LOOPS, "Ben", "loops")
    label(database, LOOPS, "Ben", "conditions")
    label(database, NAMES, "Ben", "loops")
    database.write(lambda session: repository.retract_label(session, Target(WEIGHTS, NAMES), "Ben"))
    label(database, QUOTES, "Ben", "loops", weights=OTHER)
    assert keys(database, "loops") == []


def test_a_key_is_found_once_by_its_decision_or_its_first_label(database: Database) -> None:
    label(database, LOOPS, "Ben", "loops, says Ben")
    label(database, LOOPS, "Ada", "loops, says Ada")
    [found] = search(database, "loops")
    assert (found.person, found.decided) == ("Ada", False)
    decide(database, LOOPS, Kind.MIXED, "rather loops and more")
    [found] = search(database, "loops")
    assert found == Found(LOOPS, "Eve", Kind.MIXED, "rather loops and more", (), decided=True)


def test_a_decision_that_is_no_longer_in_force_is_not_found(database: Database) -> None:
    decide(database, LOOPS, Kind.MIXED, "loops")
    decide(database, LOOPS, None, "loops, reopened", seen=1)
    decide(database, NAMES, Kind.MIXED, "loops")
    decide(database, NAMES, Kind.MIXED, "names", seen=1)
    assert keys(database, "loops") == []


def test_no_more_keys_are_returned_than_asked_for(database: Database) -> None:
    for index in range(4):
        for person in ("Ada", "Ben"):
            label(database, KeyId(2, index), person, "loops")
    decide(database, KeyId(2, 1), Kind.MIXED, "loops")
    decide(database, KeyId(2, 3), Kind.MIXED, "loops")
    assert [(each.key.index, each.decided) for each in search(database, "loops", limit=2)] == [(0, False), (1, True)]
