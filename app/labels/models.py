"""The tables of labels, leases and skips.

Rows name weights and a key, never a row of a run file, so they outlive every new run of the same model.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import JSON, CheckConstraint, Double, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from keyscope.app.database.base import Base, Moment, author, words
from keyscope.contract.keys import KeyId, Stack

_PLACE = re.compile(r"(?P<file_sha256>[0-9a-f]{64}):(?P<offset>[0-9]{1,9})")


class Kind(StrEnum):
    """What a key responds to; everything that lists the kinds reads them from here."""

    SYNTACTIC = "syntactic", "--cool"
    SEMANTIC = "semantic", "--heat"
    MIXED = "mixed", "--third"
    UNCLEAR = "unclear", "--edge"

    colour: str
    """Custom property of the style sheet with the kind's colour."""

    def __new__(cls, value: str, colour: str = "") -> "Kind":
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.colour = colour
        return kind

    @classmethod
    def choices(cls) -> str:
        """All kinds as a sentence lists them: `syntactic, semantic, mixed or unclear`."""
        *others, last = cls
        return f"{', '.join(others)} or {last}"


class Evidence(BaseModel):
    """A place in a corpus file that a label rests on; written `sha256:offset` in forms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="sha256 of the file")
    offset: int = Field(ge=0, description="Index of the trigger token in the file's own tokens, from 0")

    def __str__(self) -> str:
        return f"{self.file_sha256}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Evidence":
        """The place that a form wrote.

        Raises:
            ValueError: the text is not `sha256:offset`.
        """
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError(f"evidence is written sha256:offset, got {text!r:.100}")
        return cls(file_sha256=found["file_sha256"], offset=int(found["offset"]))


_STACK = "The stack the layer is in: E or D in an encoder–decoder, else L"


class NamesKey:
    """Columns of a table whose rows name a key, without its weights."""

    layer: Mapped[int] = mapped_column(comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(comment="Index of the key in its layer, from 0")
    stack: Mapped[Stack] = mapped_column(String(1), server_default="L", comment=_STACK)

    @property
    def key(self) -> KeyId:
        return KeyId(self.layer, self.key_index, self.stack)


class AboutKey(NamesKey):
    """Columns of a table whose rows are about one key."""

    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the key belongs to")


class Label(AboutKey, Base):
    """One version of one person's label of one key; versions are added and closed, never deleted."""

    __tablename__ = "labels"
    __table_args__ = (
        Index(
            "labels_one_current",
            "weights_sha256",
            "layer",
            "key_index",
            "stack",
            "person",
            unique=True,
            sqlite_where=text("superseded_at IS NULL"),
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index("labels_of_key", "weights_sha256", "layer", "key_index", "stack"),
        # The feed of recent activity reads by these two.
        Index("labels_by_time", "weights_sha256", "created_at", "id"),
        Index(
            "labels_taken_back",
            "weights_sha256",
            "superseded_at",
            sqlite_where=text("retracted = 1"),
            postgresql_where=text("retracted"),
        ),
        CheckConstraint("confidence IS NULL OR confidence BETWEEN 0 AND 1", name="labels_confidence"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[str] = author("Display name of who says so")
    kind: Mapped[Kind] = mapped_column(words(Kind), comment="syntactic, semantic, mixed or unclear")
    description: Mapped[str] = mapped_column(Text, comment="Free text")
    confidence: Mapped[float | None] = mapped_column(Double, comment="0 to 1, empty where not given")
    tags: Mapped[list[str]] = mapped_column(JSON, comment="Free-form tags")
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSON, comment="Places the label rests on: file and offset")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was given")
    superseded_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was replaced or taken back")
    retracted: Mapped[bool] = mapped_column(default=False, comment="Taken back, with no other label in its place")

    @property
    def current(self) -> bool:
        """Whether the person still holds this view."""
        return self.superseded_at is None

    @property
    def places(self) -> list[str]:
        """The evidence as forms write it."""
        return [str(Evidence(**each)) for each in self.evidence]


class Lease(Base):
    """A key that one person is labelling now; the queue offers it to nobody else until the lease expires."""

    __tablename__ = "leases"

    weights_sha256: Mapped[str] = mapped_column(String(64), primary_key=True, comment="Weights the key belongs to")
    layer: Mapped[int] = mapped_column(primary_key=True, comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(primary_key=True, comment="Index of the key in its layer, from 0")
    stack: Mapped[Stack] = mapped_column(String(1), primary_key=True, server_default="L", comment=_STACK)
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who has it")
    expires_at: Mapped[datetime] = mapped_column(Moment, comment="When it is free again")


class Skip(Base):
    """A key that a person chose not to label for now."""

    __tablename__ = "skips"

    weights_sha256: Mapped[str] = mapped_column(String(64), primary_key=True, comment="Weights the key belongs to")
    person: Mapped[str] = mapped_column(String(100), primary_key=True, comment="Display name of who skipped it")
    layer: Mapped[int] = mapped_column(primary_key=True, comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(primary_key=True, comment="Index of the key in its layer, from 0")
    stack: Mapped[Stack] = mapped_column(String(1), primary_key=True, server_default="L", comment=_STACK)
    skipped_at: Mapped[datetime] = mapped_column(Moment, comment="When it was last skipped")
