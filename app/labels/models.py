"""The tables of the labels database.

A label points at the weights and the name of a key, never at a row of a run file, so it outlives every re-run.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import JSON, CheckConstraint, DateTime, Double, Enum, Index, String, Text, TypeDecorator, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from keyscope.contract.keys import KeyId


class Kind(StrEnum):
    """What a key responds to."""

    SYNTACTIC = "syntactic"
    SEMANTIC = "semantic"
    MIXED = "mixed"
    UNCLEAR = "unclear"


class Evidence(BaseModel):
    """A place in a corpus file that a label rests on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="sha256 of the file")
    offset: int = Field(ge=0, description="Index of the trigger token in the file's own tokens, from 0")


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class Base(DeclarativeBase):
    """All tables."""


class Label(Base):
    """One version of one person's label of one key; rows are added and closed, never changed or deleted."""

    __tablename__ = "labels"
    __table_args__ = (
        Index(
            "labels_one_current",
            "weights_sha256",
            "layer",
            "key_index",
            "person",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index("labels_of_key", "weights_sha256", "layer", "key_index"),
        CheckConstraint("confidence IS NULL OR confidence BETWEEN 0 AND 1", name="labels_confidence"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who says so")
    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the key belongs to")
    layer: Mapped[int] = mapped_column(comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(comment="Index of the key in its layer, from 0")
    kind: Mapped[Kind] = mapped_column(
        Enum(Kind, native_enum=False, length=20, values_callable=lambda kinds: [kind.value for kind in kinds]),
        comment="syntactic, semantic, mixed or unclear",
    )
    description: Mapped[str] = mapped_column(Text, comment="Free text")
    confidence: Mapped[float | None] = mapped_column(Double, comment="0 to 1, empty where not given")
    tags: Mapped[list[str]] = mapped_column(JSON, comment="Free-form tags")
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSON, comment="Places the label rests on: file and offset")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was given")
    superseded_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was replaced or taken back")
    retracted: Mapped[bool] = mapped_column(default=False, comment="Taken back, with no other label in its place")

    @property
    def key(self) -> KeyId:
        """The key the label is about."""
        return KeyId(self.layer, self.key_index)

    @property
    def current(self) -> bool:
        """Is it what the person says now?"""
        return self.superseded_at is None


class Lease(Base):
    """A key that one person is labelling now, so that nobody else is given it before it expires."""

    __tablename__ = "leases"

    weights_sha256: Mapped[str] = mapped_column(String(64), primary_key=True, comment="Weights the key belongs to")
    layer: Mapped[int] = mapped_column(primary_key=True, comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(primary_key=True, comment="Index of the key in its layer, from 0")
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who has it")
    expires_at: Mapped[datetime] = mapped_column(Moment, comment="When it is free again")


class Skip(Base):
    """A key that a person did not want to label for now."""

    __tablename__ = "skips"

    weights_sha256: Mapped[str] = mapped_column(String(64), primary_key=True, comment="Weights the key belongs to")
    person: Mapped[str] = mapped_column(String(100), primary_key=True, comment="Display name of who skipped it")
    layer: Mapped[int] = mapped_column(primary_key=True, comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(primary_key=True, comment="Index of the key in its layer, from 0")
    skipped_at: Mapped[datetime] = mapped_column(Moment, comment="When it was last skipped")


class Basket(Base):
    """A basket of masks too long for an address, named by its content."""

    __tablename__ = "baskets"

    id: Mapped[str] = mapped_column(String(20), primary_key=True, comment="Start of the sha256 of the masks' text")
    masks: Mapped[str] = mapped_column(Text, comment="The basket as addresses write it")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was saved")
