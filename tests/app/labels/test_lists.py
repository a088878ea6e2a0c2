import threading

import pytest
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Forbidden, Person
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import lists
from keyscope.app.labels.lists import ListChanged, UnknownList
from keyscope.app.roles import Role
from keyscope.contract.keys import KeyId
from tests.app.people import ADA, BEN

WEIGHTS = "a" * 64
KEYS = [KeyId(1, 3), KeyId(0, 2), KeyId(1, 0)]


def make(database: Database, person: Person = ADA, shared: bool = True, keys: list[KeyId] = KEYS) -> int:
    return database.write(lambda session: lists.make_list(session, person, WEIGHTS, "brackets", keys, shared).id)


def keys_of(database: Database, list_id: int, person: str | None = "Ada") -> list[KeyId]:
    with database.transaction() as session:
        return lists.list_keys(session, list_id, person)


def test_a_list_keeps_its_keys_in_the_order_they_came(database: Database):
    list_id = make(database)
    assert keys_of(database, list_id) == KEYS
    assert database.write(lambda s: lists.add_keys(s, list_id, BEN, [KeyId(0, 2), KeyId(0, 0), KeyId(0, 0)])) == 1
    assert keys_of(database, list_id) == [*KEYS, KeyId(0, 0)]


def test_a_private_list_is_its_owners_alone(database: Database):
    list_id = make(database, shared=False)
    assert keys_of(database, list_id) == KEYS
    for stranger in ("Ben", None):
        with pytest.raises(UnknownList, match=f"no list {list_id}"):
            keys_of(database, list_id, stranger)
    with pytest.raises(UnknownList):
        database.write(lambda session: lists.add_keys(session, list_id, BEN, [KeyId(0, 0)]))
    with database.transaction() as session:
        assert lists.visible_lists(session, "Ben") == []
        assert lists.holding(session, WEIGHTS, KEYS[0], "Ben") == []
        [summary] = lists.visible_lists(session, "Ada", WEIGHTS)
        assert (summary.list.name, summary.n_keys) == ("brackets", 3)
        assert lists.visible_lists(session, "Ada", "b" * 64) == []


def test_a_note_is_not_overwritten_by_who_has_not_seen_it(database: Database):
    list_id = make(database)
    note = "opens a call"
    database.write(lambda session: lists.set_note(session, list_id, BEN, KEYS[0], note, seen=1))
    with pytest.raises(ListChanged, match="opens a call"):
        database.write(lambda session: lists.set_note(session, list_id, ADA, KEYS[0], "closes it", seen=1))
    with database.transaction() as session:
        assert [entry.note for entry in lists.entries(session, list_id)] == [note, "", ""]
        [(found, entry)] = lists.holding(session, WEIGHTS, KEYS[0], "Ada")
        assert (found.id, entry.note) == (list_id, note)


def test_keys_are_moved_and_taken_out(database: Database):
    list_id = make(database)
    database.write(lambda session: lists.move_key(session, list_id, ADA, KEYS[2], 0, seen=1))
    assert keys_of(database, list_id) == [KEYS[2], KEYS[0], KEYS[1]]
    with pytest.raises(ListChanged):
        database.write(lambda session: lists.move_key(session, list_id, ADA, KEYS[2], 2, seen=1))
    database.write(lambda session: lists.move_key(session, list_id, ADA, KEYS[2], 99, seen=2))
    database.write(lambda session: lists.remove_key(session, list_id, BEN, KEYS[0]))
    assert keys_of(database, list_id) == [KEYS[1], KEYS[2]]
    with pytest.raises(UnknownList, match="does not have key"):
        database.write(lambda session: lists.move_key(session, list_id, ADA, KEYS[0], 0, seen=3))


def test_a_key_moves_by_places_from_where_it_is_now_and_stops_at_the_ends(database: Database):
    list_id = make(database)
    database.write(lambda session: lists.remove_key(session, list_id, BEN, KEYS[0]))
    for seen, (by, order) in enumerate([(1, KEYS[:0:-1]), (1, KEYS[:0:-1]), (-1, KEYS[1:]), (-1, KEYS[1:])], start=1):
        database.write(lambda session, by=by, seen=seen: lists.shift_key(session, list_id, ADA, KEYS[1], by, seen))
        assert keys_of(database, list_id) == order
    with pytest.raises(ListChanged):
        database.write(lambda session: lists.shift_key(session, list_id, ADA, KEYS[1], 1, seen=1))
    with pytest.raises(UnknownList, match="does not have key"):
        database.write(lambda session: lists.shift_key(session, list_id, ADA, KEYS[0], 1, seen=5))


def test_only_its_owner_and_admins_rename_a_list(database: Database):
    list_id = make(database)
    with pytest.raises(Forbidden, match="belongs to Ada"):
        database.write(lambda session: lists.rename_list(session, list_id, BEN, "mine", True, seen=1))
    with pytest.raises(Forbidden):
        database.write(lambda session: lists.put_away(session, list_id, BEN))
    database.write(lambda session: lists.rename_list(session, list_id, ADA, " opening\n brackets ", False, seen=1))
    with pytest.raises(ListChanged):
        database.write(lambda session: lists.rename_list(session, list_id, ADA, "other", False, seen=1))
    with database.transaction() as session:
        found = lists.get_list(session, list_id, "Ada")
        assert (found.name, found.shared, found.version) == ("opening brackets", False, 2)


def test_an_admin_may_rename_a_shared_list_of_another(database: Database):
    list_id = make(database, BEN)
    database.write(lambda session: lists.rename_list(session, list_id, ADA, "ours", True, seen=1))
    with database.transaction() as session:
        assert lists.get_list(session, list_id, None).name == "ours"


def test_a_list_that_was_put_away_comes_back_whole(database: Database):
    list_id = make(database)
    database.write(lambda session: lists.put_away(session, list_id, ADA))
    with pytest.raises(UnknownList):
        keys_of(database, list_id)
    with database.transaction() as session:
        assert [each.list.id for each in lists.put_away_lists(session, "Ada")] == [list_id]
        assert lists.put_away_lists(session, "Ben") == []
    with pytest.raises(UnknownList):
        database.write(lambda session: lists.bring_back(session, list_id, Person("Ben", Role.ADMIN)))
    database.write(lambda session: lists.bring_back(session, list_id, ADA))
    assert keys_of(database, list_id) == KEYS


@pytest.mark.parametrize("name", ["", " \n ", "x" * 101, "a\0b", "a\u202eb"])
def test_a_list_needs_a_name(database: Database, name: str):
    with pytest.raises(InvalidParameter):
        database.write(lambda session: lists.make_list(session, ADA, WEIGHTS, name))


def test_people_who_fill_a_list_at_once_lose_nothing_and_doubles_count_once(database: Database):
    list_id = make(database, keys=[])
    failed: list[Exception] = []

    def fill(number: int) -> None:
        def add(session: Session, index: int) -> int:
            return lists.add_keys(session, list_id, ADA, [KeyId(number, index), KeyId(9, index)])

        try:
            for index in range(5):
                database.write(lambda session, index=index: add(session, index))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    expected = {KeyId(number, index) for number in (0, 1, 2, 3, 9) for index in range(5)}
    found = keys_of(database, list_id)
    assert set(found) == expected
    assert len(found) == len(expected)
    with database.transaction() as session:
        positions = [entry.position for entry in lists.entries(session, list_id)]
    assert positions == list(range(len(expected)))
