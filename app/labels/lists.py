"""Lists of keys with notes: made, filled, ordered, renamed and put away, by several people at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from keyscope.app.accounts.identity import Forbidden, Person
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.labels.team_models import KeyList, ListEntry
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId

MOST_KEYS = 65_536
LONGEST_NAME = 100
LONGEST_NOTE = 4000


class UnknownList(NotFound):
    """There is no such list, or it is another person's own."""

    code = "unknown_list"


class ListChanged(KeyscopeError):
    """Somebody changed the same thing of a list since it was looked at."""

    code = "list_changed"
    status = 409


@dataclass(frozen=True, slots=True)
class Summary:
    """A list and how many keys it has."""

    list: KeyList
    n_keys: int


def list_keys(session: Session, list_id: int, person: str | None) -> list[KeyId]:
    """The keys of a list in its order, for the person of that name.

    Raises:
        UnknownList: there is none of that id that they may see.
    """
    get_list(session, list_id, person)
    return [entry.key for entry in entries(session, list_id)]


def visible_lists(session: Session, person: str | None, weights_sha256: str | None = None) -> list[Summary]:
    """Every list the person may see, the newest first; of one model's weights where asked for."""
    where = [KeyList.deleted_at.is_(None), _visible(person)]
    if weights_sha256 is not None:
        where.append(KeyList.weights_sha256 == weights_sha256)
    return _summaries(session, where)


def put_away_lists(session: Session, person: str | None) -> list[Summary]:
    """The lists that the person put away, the newest first."""
    return _summaries(session, [KeyList.deleted_at.is_not(None), KeyList.owner == person])


def get_list(session: Session, list_id: int, person: str | None) -> KeyList:
    """The list of that id, for the person of that name.

    Raises:
        UnknownList: there is none that they may see.
    """
    where = KeyList.id == list_id, KeyList.deleted_at.is_(None), _visible(person)
    found = session.scalar(select(KeyList).where(*where))
    if found is None:
        raise UnknownList(f"there is no list {list_id}, or it is not shared: see the lists there are")
    return found


def entries(session: Session, list_id: int) -> Sequence[ListEntry]:
    """The keys of a list with their notes, in order."""
    chosen = select(ListEntry).where(ListEntry.list_id == list_id)
    return session.scalars(chosen.order_by(ListEntry.position, ListEntry.id)).all()


def holding(session: Session, weights_sha256: str, key: KeyId, person: str | None) -> list[tuple[KeyList, ListEntry]]:
    """The lists a person may see that have a key, with what they say of it."""
    chosen = (
        select(KeyList, ListEntry)
        .join(ListEntry, ListEntry.list_id == KeyList.id)
        .where(KeyList.weights_sha256 == weights_sha256, KeyList.deleted_at.is_(None), _visible(person))
        .where(ListEntry.layer == key.layer, ListEntry.key_index == key.index)
        .order_by(KeyList.name)
    )
    return [(found, entry) for found, entry in session.execute(chosen)]


def make_list(
    session: Session, person: Person, weights_sha256: str, name: str, keys: Iterable[KeyId] = (), shared: bool = True
) -> KeyList:
    """A new list of the person's.

    Raises:
        InvalidParameter: the name is none, or there are too many keys.
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
    """Put keys at the end of a list; those it has stay where they are. Answers how many are new.

    Raises:
        UnknownList: there is none that the person may see.
        InvalidParameter: there are too many keys, or the note is too long.
    """
    return _append(session, _locked(session, list_id, person), person, keys, note)


def remove_key(session: Session, list_id: int, person: Person, key: KeyId) -> None:
    """Take a key out of a list; one that is not in it stays out.

    Raises:
        UnknownList: there is none that the person may see.
    """
    _locked(session, list_id, person)
    session.execute(delete(ListEntry).where(*_entry(list_id, key)))


def set_note(session: Session, list_id: int, person: Person, key: KeyId, note: str, seen: int) -> None:
    """Change what a list says of a key, by who saw the note of version `seen`.

    Raises:
        UnknownList: the person may not see the list, or it has no such key.
        ListChanged: the note was changed since.
    """
    _locked(session, list_id, person)
    entry = session.scalar(select(ListEntry).where(*_entry(list_id, key)))
    if entry is None:
        raise UnknownList(f"list {list_id} has no key {key}: put it in first")
    if entry.version != seen:
        raise ListChanged(
            f"somebody changed the note on {key} since you saw it; it now says {entry.note!r}: "
            f"look at the list again, then write yours, which was {note!r}"
        )
    entry.note, entry.version = _note(note), entry.version + 1


def move_key(session: Session, list_id: int, person: Person, key: KeyId, place: int, seen: int) -> None:
    """Put a key at a place of the list, from 0, by who saw the order of version `seen`.

    Raises:
        UnknownList: the person may not see the list, or it has no such key.
        ListChanged: the order, or the name, was changed since.
    """
    found = _locked(session, list_id, person)
    order, at = _order(session, found, key, seen)
    _move(found, order, at, place)


def shift_key(session: Session, list_id: int, person: Person, key: KeyId, by: int, seen: int) -> None:
    """Move a key by so many places from where it is now, for keys taken out since it was seen have moved it.

    Raises:
        UnknownList: the person may not see the list, or it has no such key.
        ListChanged: the order, or the name, was changed since version `seen`.
    """
    found = _locked(session, list_id, person)
    order, at = _order(session, found, key, seen)
    _move(found, order, at, at + by)


def rename_list(session: Session, list_id: int, person: Person, name: str, shared: bool, seen: int) -> KeyList:
    """Change name and sharing of a list, by who saw version `seen`.

    Raises:
        UnknownList: there is none that the person may see.
        Forbidden: it is another person's, and the one who asks is no admin.
        ListChanged: somebody else changed it since.
        InvalidParameter: the name is none.
    """
    found = _locked(session, list_id, person)
    _check_owner(found, person)
    _check_version(found, seen)
    found.name, found.shared, found.version = list_name(name), shared, found.version + 1
    return found


def put_away(session: Session, list_id: int, person: Person) -> None:
    """Take a list out of sight; its owner can bring it back.

    Raises:
        UnknownList: there is none that the person may see.
        Forbidden: it is another person's, and the one who asks is no admin.
    """
    found = _locked(session, list_id, person)
    _check_owner(found, person)
    found.deleted_at = datetime.now(UTC)


def bring_back(session: Session, list_id: int, person: Person) -> None:
    """Bring back a list that the person had put away.

    Raises:
        UnknownList: there is none such.
    """
    mine = KeyList.id == list_id, KeyList.owner == person.name, KeyList.deleted_at.is_not(None)
    if session.scalar(update(KeyList).where(*mine).values(deleted_at=None).returning(KeyList.id)) is None:
        raise UnknownList(f"{person.name} has put away no list {list_id}")


def list_name(text: str) -> str:
    """A name for a list, white space tidied.

    Raises:
        InvalidParameter: it is empty, too long, or has characters that cannot be printed.
    """
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidParameter(
            f"{name[:LONGEST_NAME]!r} is no name for a list: write 1 to {LONGEST_NAME} printable characters"
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


def _order(session: Session, found: KeyList, key: KeyId, seen: int) -> tuple[list[ListEntry], int]:
    """The entries of a list that is as it was seen, and the place of a key among them."""
    _check_version(found, seen)
    order = list(entries(session, found.id))
    at = next((number for number, entry in enumerate(order) if entry.key == key), None)
    if at is None:
        raise UnknownList(f"list {found.id} has no key {key}: put it in first")
    return order, at


def _move(found: KeyList, order: list[ListEntry], at: int, to: int) -> None:
    order.insert(max(0, min(to, len(order) - 1)), order.pop(at))
    for number, entry in enumerate(order):
        entry.position = number
    found.version += 1


def _locked(session: Session, list_id: int, person: Person) -> KeyList:
    # The first statement is a write: SQLite takes its lock here, PostgreSQL that of the row, so that the changes of
    # a list come one after the other and whatever is read below stays true until the end.
    session.execute(update(KeyList).where(KeyList.id == list_id).values(version=KeyList.version))
    return get_list(session, list_id, person.name)


def _check_owner(found: KeyList, person: Person) -> None:
    if person.name != found.owner and not person.role.may(Role.ADMIN):
        raise Forbidden(f"{found.name!r} is {found.owner}'s: ask them, or make a list of your own")


def _check_version(found: KeyList, seen: int) -> None:
    if found.version != seen:
        raise ListChanged(
            f"somebody changed the list {found.name!r} since you saw it: look at it again, then change it"
        )


def _note(text: str) -> str:
    note = text.strip()
    if len(note) > LONGEST_NOTE or "\0" in note:
        raise InvalidParameter(
            f"a note has up to {LONGEST_NOTE:,} characters, none of them NUL; this has {len(note):,}"
        )
    return note


def _visible(person: str | None) -> ColumnElement[bool]:
    return KeyList.shared.is_(True) if person is None else or_(KeyList.shared.is_(True), KeyList.owner == person)


def _entry(list_id: int, key: KeyId) -> tuple[ColumnElement[bool], ...]:
    return ListEntry.list_id == list_id, ListEntry.layer == key.layer, ListEntry.key_index == key.index


def _summaries(session: Session, where: Sequence[ColumnElement[bool]]) -> list[Summary]:
    n_keys = select(func.count(ListEntry.id)).where(ListEntry.list_id == KeyList.id).scalar_subquery()
    chosen = select(KeyList, n_keys).where(*where).order_by(KeyList.id.desc())
    return [Summary(found, number) for found, number in session.execute(chosen)]
