"""Recent activity: labels, decisions, comments and lists of all keys in one stream, the latest first."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, and_, literal, null, or_, select, true, union_all
from sqlalchemy.orm import Session

from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.comments import latest_text
from keyscope.app.labels.models import Label
from keyscope.app.labels.team_models import Adjudication, Comment, CommentText, KeyList, Mention
from keyscope.contract.keys import KeyId

PAGE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class What(StrEnum):
    """What a person did."""

    LABEL = "label"
    RETRACTION = "retraction"
    ADJUDICATION = "adjudication"
    COMMENT = "comment"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to read."""

    viewer: str | None = None
    """Who is reading: other people's private lists are left out."""
    person: str | None = None
    """Only events by this person."""
    mentioning: str | None = None
    """Only comments that mention this person."""
    weights_sha256: str | None = None
    before: str = ""
    """Only events older than the one with this cursor."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a person did."""

    what: What
    id: int
    """Id of the label, decision, comment or list; each table counts separately."""
    at: datetime
    person: str
    weights_sha256: str
    key: KeyId | None
    """None for a list."""
    kind: str | None
    text: str

    @property
    def cursor(self) -> str:
        """The event's position in the stream, for addresses."""
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}.{self.what}.{self.id}"


def recent(session: Session, chosen: Filter, limit: int = PAGE) -> list[Event]:
    """The latest events that match the filter.

    Raises:
        InvalidParameter: the cursor is malformed.
    """
    if chosen.mentioning is not None:
        sources = {What.COMMENT: _comments(chosen)}
    else:
        sources = {what: source(chosen) for what, source in SOURCES.items()}
    # Limit each source before the union, so the database reads no more than `limit` rows of any.
    cut = [_cut(what, source, chosen.before, limit) for what, source in sources.items()]
    stream = union_all(*(select(each) for each in cut)).subquery()
    latest_first = stream.c.at.desc(), stream.c.what.desc(), stream.c.id.desc()
    rows = session.execute(select(stream).order_by(*latest_first).limit(limit))
    return [
        Event(
            What(row.what),
            row.id,
            row.at,
            row.person,
            row.weights_sha256,
            None if row.layer is None else KeyId(row.layer, row.key_index, row.stack),
            row.kind,
            row.text,
        )
        for row in rows
    ]


def _labels(chosen: Filter) -> Select[Any]:
    return _source(What.LABEL, chosen, Label, Label.created_at, Label.person, Label.kind, Label.description)


def _retractions(chosen: Filter) -> Select[Any]:
    columns = Label.superseded_at, Label.person, Label.kind, literal("")
    return _source(What.RETRACTION, chosen, Label, *columns).where(Label.retracted)


def _adjudications(chosen: Filter) -> Select[Any]:
    columns = Adjudication.created_at, Adjudication.person, Adjudication.kind, Adjudication.description
    return _source(What.ADJUDICATION, chosen, Adjudication, *columns)


def _comments(chosen: Filter) -> Select[Any]:
    source = _source(What.COMMENT, chosen, Comment, Comment.created_at, Comment.person, null(), CommentText.text)
    found = source.join(CommentText, latest_text()).where(Comment.deleted_at.is_(None))
    if chosen.mentioning is not None:
        mention = Mention.comment_id == Comment.id, Mention.person == chosen.mentioning.casefold()
        found = found.where(select(Mention.comment_id).where(*mention).exists())
    return found


def _lists(chosen: Filter) -> Select[Any]:
    visible: ColumnElement[bool] = or_(KeyList.shared.is_(True), KeyList.owner == (chosen.viewer or ""))
    found = _source(What.LIST, chosen, KeyList, KeyList.created_at, KeyList.owner, null(), KeyList.name)
    return found.where(KeyList.deleted_at.is_(None), visible)


SOURCES = {
    What.LABEL: _labels,
    What.RETRACTION: _retractions,
    What.ADJUDICATION: _adjudications,
    What.COMMENT: _comments,
    What.LIST: _lists,
}


def _source(what: What, chosen: Filter, table: Any, at: Any, person: Any, kind: Any, text: Any) -> Select[Any]:
    no_key, no_stack = literal(None, Integer), literal(None, String)
    found: Select[Any] = select(
        literal(what.value).label("what"),
        table.id.label("id"),
        at.label("at"),
        person.label("person"),
        table.weights_sha256.label("weights_sha256"),
        getattr(table, "layer", no_key).label("layer"),
        getattr(table, "key_index", no_key).label("key_index"),
        getattr(table, "stack", no_stack).label("stack"),
        kind.cast(String).label("kind"),
        text.label("text"),
    )
    if chosen.person is not None:
        found = found.where(person == chosen.person)
    if chosen.weights_sha256 is not None:
        found = found.where(table.weights_sha256 == chosen.weights_sha256)
    return found


def _cut(what: What, source: Select[Any], before: str, limit: int) -> Any:
    columns = {column.name: column for column in source.selected_columns}
    at, number = columns["at"], columns["id"]
    if before:
        moment, last, last_number = _parse_cursor(before)
        # Ties in time are broken by kind of event, then by id.
        same = true() if what < last else and_(literal(what == last), number < last_number)
        source = source.where(or_(at < moment, and_(at == moment, same)))
    return source.order_by(at.desc(), number.desc()).limit(limit).subquery()


def _parse_cursor(text: str) -> tuple[datetime, What, int]:
    try:
        microseconds, what, number = text.split(".")
        found = _EPOCH + timedelta(microseconds=int(microseconds)), What(what), int(number)
        if not 0 < found[2] < 2**31:
            raise ValueError("the id is out of range")
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(f"{text!r} is not a position in the activity: follow the links on its page") from error
    return found
