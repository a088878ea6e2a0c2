"""The codebook: what each kind means, with a key that is of it and one that only looks like it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.models import Kind
from keyscope.app.labels.team_models import CodebookChange
from keyscope.contract.errors import KeyscopeError

SHIPPED = {
    Kind.SYNTACTIC: "Its triggers share a surface form: the same token, character pattern or place in the code’s structure, "
    "whatever the code is about.",
    Kind.SEMANTIC: "Its triggers share a meaning: the same concept, library or purpose, written with different tokens.",
    Kind.MIXED: "Some of its triggers share a surface form and others a meaning, or one cannot be told from the other.",
    Kind.UNCLEAR: "You have looked at all its triggers and see nothing that most of them share.",
}
"""The definitions that every codebook begins with."""


_NEWEST = select(func.max(CodebookChange.id)).group_by(CodebookChange.kind)
_OF_WEIGHTS = _NEWEST.where(CodebookChange.weights_sha256 == bindparam("weights_sha256"))
_IN_FORCE = (
    select(CodebookChange)
    .where(or_(CodebookChange.id.in_(_NEWEST), CodebookChange.id.in_(_OF_WEIGHTS)))
    .order_by(CodebookChange.id)
)


class CodebookChanged(KeyscopeError, status=409):
    """Somebody else changed the entry after it was last seen."""


@dataclass(frozen=True, slots=True)
class Words:
    """What an entry says; the keys are names such as `L5.K312`."""

    definition: str
    example: str | None = None
    counter_example: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a kind means, as it is now."""

    kind: Kind
    words: Words
    version: int = 0
    """How often it was changed; 0 as shipped."""
    person: str | None = None
    """Who changed it last."""
    changed_at: datetime | None = None


def entries(session: Session, weights_sha256: str | None = None) -> list[Entry]:
    """The entry of each kind: the latest definition, and the latest keys of these weights."""
    latest: dict[Kind, CodebookChange] = {}
    with_keys: dict[Kind, CodebookChange] = {}
    for change in session.scalars(_IN_FORCE, {"weights_sha256": weights_sha256}):
        latest[change.kind] = change
        if weights_sha256 is not None and change.weights_sha256 == weights_sha256:
            with_keys[change.kind] = change
    return [_entry(kind, latest.get(kind), with_keys.get(kind)) for kind in Kind]


def history(session: Session) -> Sequence[CodebookChange]:
    """Every change of every entry, the latest first."""
    return session.scalars(select(CodebookChange).order_by(CodebookChange.id.desc())).all()


def change(session: Session, weights_sha256: str | None, kind: Kind, person: str, said: Words, seen: int) -> None:
    """Say anew what a kind means; `seen` is the version the change starts from, `weights_sha256` the model of the keys.

    The database keeps the numbers of a kind unique, so only one of two simultaneous changes is stored.

    Raises:
        CodebookChanged: the entry has another version than `seen`.
        InvalidParameter: keys are named without the weights they belong to.
    """
    if weights_sha256 is None and (said.example or said.counter_example):
        raise InvalidParameter("the two keys of an entry belong to a model: say which by naming a run of it")
    latest = session.scalars(
        select(CodebookChange).where(CodebookChange.kind == kind).order_by(CodebookChange.number.desc()).limit(1)
    ).first()
    number = latest.number if latest else 0
    if number != seen:
        raise CodebookChanged(
            f"the entry on {kind} has changed: you started from version {seen}, but "
            f"{f'{latest.person} wrote version {number}' if latest else 'it is as shipped'}; "
            "read it, then send your change again based on it"
        )
    session.add(
        CodebookChange(
            kind=kind,
            number=number + 1,
            definition=said.definition,
            weights_sha256=weights_sha256,
            example=said.example,
            counter_example=said.counter_example,
            person=person,
            created_at=datetime.now(UTC),
        )
    )
    session.flush()


def _entry(kind: Kind, latest: CodebookChange | None, with_keys: CodebookChange | None) -> Entry:
    keys = (with_keys.example, with_keys.counter_example) if with_keys else (None, None)
    if latest is None:
        return Entry(kind, Words(SHIPPED[kind], *keys))
    return Entry(kind, Words(latest.definition, *keys), latest.number, latest.person, latest.created_at)
