"""The rows of exports and imports: versions of labels, and decisions on keys."""

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass as checked_dataclass
from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session, aliased

from keyscope.app.accounts.names import person_name
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.fields import MOST_EVIDENCE, MOST_TAGS, Description, Tag
from keyscope.app.labels.models import Evidence, Kind, Label
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication
from keyscope.contract.keys import KeyId, KeyName
from keyscope.contract.validation import sentence

RecordKind = Literal["label", "adjudication"]
BATCH = 1000
_SHORT_OFFSET = re.compile(r":\d\d(\.\d+)?[+-]\d\d$")

COLUMNS = {
    "record": "VARCHAR",
    "id": "BIGINT",
    "person": "VARCHAR",
    "key": "VARCHAR",
    "layer": "INTEGER",
    "index": "INTEGER",
    "current": "BOOLEAN",
    "kind": "VARCHAR",
    "description": "VARCHAR",
    "confidence": "DOUBLE",
    "tags": "VARCHAR[]",
    "evidence": 'STRUCT(file_sha256 VARCHAR, "offset" BIGINT)[]',
    "weights_sha256": "VARCHAR",
    "created_at": "TIMESTAMPTZ",
    "superseded_at": "TIMESTAMPTZ",
    "retracted": "BOOLEAN",
}
"""The columns of the file and their types in DuckDB."""
JSON_COLUMNS = ("tags", "evidence")
"""Those that CSV stores as JSON."""
NEEDED = ("person", "key", "kind", "weights_sha256", "created_at")
"""Those that every file of labels must have."""


def _person(text: str) -> str:
    try:
        return person_name(text)
    except InvalidParameter as error:
        raise ValueError(error.detail) from error


def _whole_offset(text: Any) -> Any:
    """Complete an offset of +00, as DuckDB and PostgreSQL write it, to +00:00."""
    return f"{text}:00" if isinstance(text, str) and _SHORT_OFFSET.search(text) else text


Time = Annotated[AwareDatetime, BeforeValidator(_whole_offset)]


Shared = AfterValidator(sys.intern)
"""A text that many rows have; it is kept once."""


@checked_dataclass(config=ConfigDict(extra="forbid"), slots=True, eq=False, kw_only=True)
class Record:
    """A row of a file; a file may have a million, so it takes little memory."""

    record: RecordKind = "label"
    id: int | None = Field(None, description="Id in the database it was exported from; an import assigns new ids")
    person: Annotated[str, AfterValidator(_person), Shared]
    key: Annotated[KeyName, Shared]
    layer: int | None = None
    index: int | None = None
    current: bool | None = None
    kind: Kind | None = None
    description: Description = ""
    confidence: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    tags: list[Tag] = Field(default_factory=list, max_length=MOST_TAGS)
    evidence: list[Evidence] = Field(default_factory=list, max_length=MOST_EVIDENCE)
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), Shared]
    created_at: Time
    superseded_at: Time | None = None
    retracted: bool = False

    @property
    def target(self) -> Target:
        return Target(self.weights_sha256, KeyId.parse(self.key))

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        key = KeyId.parse(self.key)
        if self.layer not in (None, key.layer) or self.index not in (None, key.index):
            raise ValueError(f"layer {self.layer} and index {self.index} do not match the key {key}")
        if self.current not in (None, self.superseded_at is None):
            raise ValueError("a row is current if and only if superseded_at is empty")
        if self.record == "label" and self.kind is None:
            raise ValueError("a label needs a kind")
        if self.retracted and self.superseded_at is None:
            raise ValueError("a label that was taken back needs the time in superseded_at")
        if self.superseded_at is not None and self.superseded_at < self.created_at:
            raise ValueError("a row cannot end before it begins")
        return self

    def values(self, names: Collection[str]) -> dict[str, Any]:
        """The named fields as plain values."""
        return _RECORD.dump_python(self, include=set(names))  # type: ignore[no-any-return]


_RECORD = TypeAdapter(Record)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to export."""

    record: RecordKind | None = None
    person: str | None = None
    kind: Kind | None = None
    layer: int | None = None
    weights_sha256: str | None = None
    current: bool = False


def read(values: dict[str, Any]) -> Record | str:
    """The parsed row, or what is wrong with it."""
    try:
        return _RECORD.validate_python(values)
    except ValidationError as error:
        return sentence(error.errors())


def rows(session: Session, chosen: Filter) -> Iterator[list[object]]:
    """Labels by time, then decisions by time, as values of `COLUMNS`."""
    if chosen.record in (None, "label"):
        for label in session.scalars(_labels(chosen).execution_options(yield_per=BATCH)):
            yield _row(label, "label", label.superseded_at)
    if chosen.record in (None, "adjudication"):
        for decision, until in session.execute(_decisions(chosen).execution_options(yield_per=BATCH)):
            yield _row(decision, "adjudication", until)


def _labels(chosen: Filter) -> Select[Label]:
    found = select(Label).where(*_narrowed(Label, chosen)).order_by(Label.created_at, Label.id)
    return found.where(Label.superseded_at.is_(None)) if chosen.current else found


def _decisions(chosen: Filter) -> Select[Adjudication, datetime]:
    """Each decision with the time of the next one on the same key."""
    after = aliased(Adjudication)
    follows = and_(
        after.weights_sha256 == Adjudication.weights_sha256,
        after.layer == Adjudication.layer,
        after.key_index == Adjudication.key_index,
        after.stack == Adjudication.stack,
        after.number == Adjudication.number + 1,
    )
    found = select(Adjudication, after.created_at).outerjoin(after, follows).where(*_narrowed(Adjudication, chosen))
    found = found.order_by(Adjudication.created_at, Adjudication.number, Adjudication.id)
    return found.where(after.id.is_(None)) if chosen.current else found


def _narrowed(table: Any, chosen: Filter) -> list[Any]:
    wanted = {
        table.person: chosen.person,
        table.kind: chosen.kind,
        table.layer: chosen.layer,
        table.weights_sha256: chosen.weights_sha256,
    }
    return [column == value for column, value in wanted.items() if value is not None]


def _row(each: Label | Adjudication, record: RecordKind, until: datetime | None) -> list[object]:
    label = each if isinstance(each, Label) else None
    return [
        record,
        each.id,
        each.person,
        str(each.key),
        each.layer,
        each.key_index,
        until is None,
        each.kind,
        each.description,
        label.confidence if label else None,
        label.tags if label else [],
        label.evidence if label else [],
        each.weights_sha256,
        each.created_at.isoformat(),
        None if until is None else until.isoformat(),
        label.retracted if label else False,
    ]
