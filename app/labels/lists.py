"""Lists of keys with notes, which several people can fill, order, rename and archive at once.

Functions that take the id of a list and a person raise UnknownList if the person may not see such a list.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Forbidden, Person
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import KeyList, ListEntry
from keyscope.app.queries.addresses import check_model_key
from keyscope.app.roles import Role
from keyscope.app.runs import Registry
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId

MOST_KEYS = 65_536
LONGEST_NAME = 100
LONGEST_NOTE = 4000


# made once, as it is asked for every key's page
_HOLDING = (
    select(KeyList, ListEntry)
    .join(ListEntry, ListEntry.list_id == KeyList.id)
    .where(KeyList.weights_sha256 == bindparam("weights_sha256"), KeyList.deleted_at.is_(None))
    .where(or_(KeyList.shared.is_(True), KeyList.owner == bindparam("person")))
    .where(*(getattr(ListEntry, name) == bindparam(name) for name in ("layer", "key_index", "stack")))
    .order_by(KeyList.name)
)


class UnknownList(NotFound):
    """The list does not exist, or is somebody else's private list."""


class ListChanged(KeyscopeError, status=409):
    """The same part of a list changed after it was last seen."""


@dataclass(frozen=True, slots=True)
class Summary:
    list: KeyList
    n_keys: int


def list_keys(session: Session, list_id: int, person: str | None) -> list[KeyId]:
    """The keys of a list in order."""
    get_list(session, list_id, person)
    return [entry.key for entry in entries(session, list_id)]


def visible_lists(session: Session, person: str | None, weights_sha256: str | None = None) -> list[Summary]:
    """Every list the person may see, the newest first; only those of one model if weights are given."""
    where = [KeyList.deleted_at.is_(None), _visible(person)]
    if weights_sha256 is not None:
        where.append(KeyList.weights_sha256 == weights_sha256)
    return _summaries(session, where)


def put_away_lists(session: Session, person: str | None) -> list[Summary]:
    """The person's archived lists, the newest first."""
    return _summaries(session, [KeyList.deleted_at.is_not(None), KeyList.owner == person])


def get_list(session: Session, list_id: int, person: str | None) -> KeyList:
    """The list with that id."""
    where = KeyList.id == list_id, KeyList.deleted_at.is_(None), _visible(person)
    found = session.scalar(select(KeyList).where(*where))
    if found is None:
        raise UnknownList(f"there is no list {list_id}, or it is not shared with you: open Lists to see yours")
    return found


def entries(session: Session, list_id: int) -> Sequence[ListEntry]:
    """The entries of a list in order."""
    chosen = select(ListEntry).where(ListEntry.list_id == list_id)
    return session.scalars(chosen.order_by(ListEntry.position, ListEntry.id)).all()


def holding(session: Session, weights_sha256: str, key: KeyId, person: str | None) -> list[tuple[KeyList, ListEntry]]:
    """The lists with this key that the person may see, each with its entry for the key."""
    asked = Target(weights_sha256, key).columns | {"person": person}
    return [(found, entry) for found, entry in session.execute(_HOLDING, asked)]


def make_list(
    session: Session, person: Person, weights_sha256: str, name: str, keys: Iterable[KeyId] = (), shared: bool = True
) -> KeyList:
    """Make a list that the person owns.

    Raises:
        InvalidParameter: the name is not valid, or there are too many keys.
    """
    made = KeyList(
        name=list_name(name),
        owner=person.name,
        weights_sha256=weights_sha256,
        shared=shared,
        version=1,
        created_at=datetime.now(UTC),
        deleted_at=None,
    )
    session.add(made)
    session.flush()
    _append(session, made, person, keys, "")
    return made


def add_keys(session: Session, list_id: int, person: Person, keys: Iterable[KeyId], note: str = "") -> int:
    """Append keys to a list and return how many are new; keys already in it keep their place.

    Raises:
        InvalidParameter: there are too many keys, or the note is too long.
    """
    return _append(session, _locked(session, list_id, person), person, keys, note)


def check_keys(runs: Registry, database: Database, list_id: int, person: str, keys: Sequence[KeyId]) -> None:
    """Check that the list's model has these keys, if a run of the model is here to ask.

    Raises:
        UnknownLayer, UnknownKey: the model has no such key.
    """
    weights = database.read(lambda session: get_list(session, list_id, person).weights_sha256)
    if run := runs.with_weights(weights):
        for key in keys:
            check_model_key(run.manifest, key)


def remove_key(session: Session, list_id: int, person: Person, key: KeyId) -> None:
    """Remove a key from a list, if it is there."""
    _locked(session, list_id, person)
    session.execute(delete(ListEntry).where(*_entry(list_id, key)))


def set_note(session: Session, list_id: int, person: Person, key: KeyId, note: str, seen: int) -> None:
    """Change the note on a key; `seen` is the version of the note the change started from.

    Raises:
        UnknownList: the list does not have the key.
        ListChanged: the note has a later version.
    """
    _locked(session, list_id, person)
    entry = session.scalar(select(ListEntry).where(*_entry(list_id, key)))
    if entry is None:
        raise UnknownList(f"list {list_id} does not have key {key}: add it first")
    if entry.version != seen:
        raise ListChanged(
            f"somebody changed the note on {key} while you were editing; it now reads {entry.note!r}: "
            f"look at the list again, then write yours, which was {note!r}"
        )
    entry.note, entry.version = _note(note), entry.version + 1


def move_key(session: Session, list_id: int, person: Person, key: KeyId, place: int, seen: int) -> None:
    """Move a key to a place in the list, from 0; `seen` is the version of the list the move started from.

    Raises:
        UnknownList: the list does not have the key.
        ListChanged: the list has a later version.
    """
    _move(session, list_id, person, key, seen, lambda _: place)


def shift_key(session: Session, list_id: int, person: Person, key: KeyId, by: int, seen: int) -> None:
    """Move a key by a number of places from where it is now.

    Removing keys does not raise the list's version, so a place taken from an open page may be out of date; a distance
    is not.

    Raises:
        UnknownList: the list does not have the key.
        ListChanged: the list has a later version than `seen`.
    """
    _move(session, list_id, person, key, seen, lambda at: at + by)


def rename_list(session: Session, list_id: int, person: Person, name: str, shared: bool, seen: int) -> KeyList:
    """Change the name and sharing of a list; `seen` is the version the change started from.

    Raises:
        Forbidden: the person neither owns the list nor is an admin.
        ListChanged: the list has a later version.
        InvalidParameter: the name is not valid.
    """
    found = _locked(session, list_id, person)
    _check_owner(found, person)
    _check_version(found, seen)
    found.name, found.shared, found.version = list_name(name), shared, found.version + 1
    return found


def put_away(session: Session, list_id: int, person: Person) -> None:
    """Hide a list; its owner can bring it back.

    Raises:
        Forbidden: the person neither owns the list nor is an admin.
    """
    found = _locked(session, list_id, person)
    _check_owner(found, person)
    found.deleted_at = datetime.now(UTC)


def bring_back(session: Session, list_id: int, person: Person) -> None:
    """Bring back an archived list of the person.

    Raises:
        UnknownList: the person has no such list.
    """
    mine = KeyList.id == list_id, KeyList.owner == person.name, KeyList.deleted_at.is_not(None)
    if session.scalar(update(KeyList).where(*mine).values(deleted_at=None).returning(KeyList.id)) is None:
        raise UnknownList(f"{person.name} has no archived list {list_id}")


def list_name(text: str) -> str:
    """The name of a list with its white space tidied.

    Raises:
        InvalidParameter: the name is empty, too long or not printable.
    """
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidParameter(
            f"{name[:LONGEST_NAME]!r} cannot name a list: write 1 to {LONGEST_NAME} printable characters"
        )
    return name


def _append(session: Session, found: KeyList, person: Person, keys: Iterable[KeyId], note: str) -> int:
    order = entries(session, found.id)
    there = {entry.key for entry in order}
    new = [key for key in dict.fromkeys(keys) if key not in there]
    if len(there) + len(new) > MOST_KEYS:
        raise InvalidParameter(f"a list holds at most {MOST_KEYS:,} keys, this would be {len(there) + len(new):,}")
    first = max((entry.position for entry in order), default=-1) + 1
    now, note = datetime.now(UTC), _note(note)
    session.add_all(
        ListEntry(
            list_id=found.id,
            layer=key.layer,
            key_index=key.index,
            stack=key.stack,
            position=first + number,
            note=note,
            version=1,
            person=person.name,
            created_at=now,
        )
        for number, key in enumerate(new)
    )
    session.flush()
    return len(new)


def _move(session: Session, list_id: int, person: Person, key: KeyId, seen: int, place: Callable[[int], int]) -> None:
    """Move a key of a list still at version `seen`; `place` gets its place and returns the new one."""
    found = _locked(session, list_id, person)
    _check_version(found, seen)
    order = list(entries(session, list_id))
    at = next((number for number, entry in enumerate(order) if entry.key == key), None)
    if at is None:
        raise UnknownList(f"list {list_id} does not have key {key}: add it first")
    order.insert(max(0, min(place(at), len(order) - 1)), order.pop(at))
    for number, entry in enumerate(order):
        entry.position = number
    found.version += 1


def _locked(session: Session, list_id: int, person: Person) -> KeyList:
    # Start with a write: SQLite locks the database here, PostgreSQL the row, so changes to a list are serialised and
    # what is read below stays true until the transaction ends.
    session.execute(update(KeyList).where(KeyList.id == list_id).values(version=KeyList.version))
    return get_list(session, list_id, person.name)


def _check_owner(found: KeyList, person: Person) -> None:
    if person.name != found.owner and not person.role.may(Role.ADMIN):
        raise Forbidden(f"{found.name!r} belongs to {found.owner}: ask them, or make a list of your own")


def _check_version(found: KeyList, seen: int) -> None:
    if found.version != seen:
        raise ListChanged(
            f"somebody changed the list {found.name!r} while you were looking at it: reload it, then change it"
        )


def _note(text: str) -> str:
    note = text.strip()
    if len(note) > LONGEST_NOTE or "\0" in note:
        raise InvalidParameter(
            f"a note may have up to {LONGEST_NOTE:,} characters and no NUL; this one has {len(note):,}"
        )
    return note


def _visible(person: str | None) -> ColumnElement[bool]:
    return KeyList.shared.is_(True) if person is None else or_(KeyList.shared.is_(True), KeyList.owner == person)


def _entry(list_id: int, key: KeyId) -> tuple[ColumnElement[bool], ...]:
    return ListEntry.list_id == list_id, *_of_key(key)


def _of_key(key: KeyId) -> tuple[ColumnElement[bool], ...]:
    return ListEntry.layer == key.layer, ListEntry.key_index == key.index, ListEntry.stack == key.stack


def _summaries(session: Session, where: Sequence[ColumnElement[bool]]) -> list[Summary]:
    n_keys = select(func.count(ListEntry.id)).where(ListEntry.list_id == KeyList.id).scalar_subquery()
    chosen = select(KeyList, n_keys).where(*where).order_by(KeyList.id.desc())
    return [Summary(found, number) for found, number in session.execute(chosen)]
