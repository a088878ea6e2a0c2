import pytest

from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import activity, adjudication, comments, lists, repository
from keyscope.app.labels.activity import Filter
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.contract.keys import KeyId
from tests.app.people import ADA, BEN

WEIGHTS = "a" * 64
TARGET = Target(WEIGHTS, KeyId(1, 2))


@pytest.fixture
def busy(database: Database) -> Database:
    """A database in which something of every kind has happened."""
    write = database.write
    write(lambda s: repository.put_label(s, TARGET, "Ada", Judgement(Kind.MIXED, "brackets")))
    write(lambda s: repository.put_label(s, Target("b" * 64, KeyId(0, 0)), "Ben", Judgement(Kind.UNCLEAR)))
    write(lambda s: repository.retract_label(s, TARGET, "Ada"))
    write(lambda s: adjudication.decide(s, TARGET, "Ada", Kind.SYNTACTIC, "clear", 0))
    number = write(lambda s: comments.write(s, TARGET, "Ben", "see @ben").comment.id)
    write(lambda s: comments.change(s, TARGET, number, "Ben", 'see @"ADA"', 1))
    gone = write(lambda s: comments.write(s, TARGET, "Ben", "nothing @ada").comment.id)
    write(lambda s: comments.take_back(s, TARGET, gone, "Ben"))
    write(lambda s: lists.make_list(s, BEN, WEIGHTS, "his own", [KeyId(0, 1)], shared=False))
    write(lambda s: lists.make_list(s, ADA, WEIGHTS, "shared"))
    return database


def seen(database: Database, limit: int = 50, **chosen: str) -> list[tuple[str, str, str]]:
    with database.transaction() as session:
        return [(each.what.value, each.person, each.text) for each in activity.recent(session, Filter(**chosen), limit)]


EVERYTHING = [
    ("list", "Ada", "shared"),
    ("comment", "Ben", 'see @"ADA"'),
    ("adjudication", "Ada", "clear"),
    ("retraction", "Ada", ""),
    ("label", "Ben", ""),
    ("label", "Ada", "brackets"),
]


def test_everything_that_happened_is_there_the_latest_first(busy: Database):
    assert seen(busy) == EVERYTHING


def test_own_lists_of_others_are_left_out(busy: Database):
    assert ("list", "Ben", "his own") in seen(busy, viewer="Ben")
    assert ("list", "Ben", "his own") not in seen(busy, viewer="Ada")


def test_the_stream_is_narrowed_to_a_person_to_weights_and_to_mentions(busy: Database):
    assert {person for _, person, _ in seen(busy, person="Ada")} == {"Ada"}
    assert seen(busy, weights_sha256="b" * 64) == [("label", "Ben", "")]
    assert seen(busy, mentioning="Ada") == [("comment", "Ben", 'see @"ADA"')]
    assert seen(busy, mentioning="Ben") == []


def test_an_event_names_its_key_and_kind(busy: Database):
    with busy.transaction() as session:
        events = {event.what: event for event in activity.recent(session, Filter(weights_sha256=WEIGHTS))}
    assert (events["label"].key, events["label"].kind) == (KeyId(1, 2), "mixed")
    assert (events["list"].key, events["list"].kind) == (None, None)
    assert events["adjudication"].kind == "syntactic"


@pytest.mark.parametrize("limit", [1, 2])
def test_pages_follow_each_other_without_gap_or_overlap(busy: Database, limit: int):
    found, cursor = [], ""
    while True:
        with busy.transaction() as session:
            page = activity.recent(session, Filter(before=cursor), limit)
        if not page:
            break
        found += [(each.what.value, each.person, each.text) for each in page]
        cursor = page[-1].cursor
    assert found == EVERYTHING


@pytest.mark.parametrize(
    "cursor", ["x", "1.label", "1.nothing.2", "9" * 30 + ".label.1", "1.label.x", "1.label." + "9" * 30, "1.label.-1"]
)
def test_a_cursor_that_is_none_is_refused(database: Database, cursor: str):
    with pytest.raises(InvalidParameter, match="not a position in the activity"):
        seen(database, before=cursor)
