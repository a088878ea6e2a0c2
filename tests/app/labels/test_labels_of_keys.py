"""Labels of many keys at once, on both kinds of database."""

from keyscope.app.database.engine import Database
from keyscope.app.labels import repository
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target, labels_of_keys
from keyscope.contract.keys import KeyId

WEIGHTS, OTHER = "a" * 64, "b" * 64


def test_current_labels_of_many_keys_are_found_at_once(database: Database) -> None:
    first, second, third = KeyId(1, 2), KeyId(2, 1), KeyId(1, 1)
    with database.transaction() as session:
        for person in ("Ben", "Ada"):
            repository.put_label(session, Target(WEIGHTS, first), person, Judgement(Kind.SEMANTIC))
        repository.put_label(session, Target(WEIGHTS, first), "Ada", Judgement(Kind.MIXED))
        repository.put_label(session, Target(WEIGHTS, second), "Ada", Judgement(Kind.UNCLEAR))
        repository.retract_label(session, Target(WEIGHTS, second), "Ada")
        repository.put_label(session, Target(OTHER, third), "Ada", Judgement(Kind.UNCLEAR))
        repository.put_label(session, Target(WEIGHTS, KeyId(2, 2)), "Ada", Judgement(Kind.UNCLEAR))
    many = [first, second, third, *(KeyId(5, index) for index in range(1200))]
    found = database.read(lambda session: labels_of_keys(session, WEIGHTS, many))
    assert {key: [(each.person, each.kind) for each in labels] for key, labels in found.items()} == {
        first: [("Ada", Kind.MIXED), ("Ben", Kind.SEMANTIC)]
    }
