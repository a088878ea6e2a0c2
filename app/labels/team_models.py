"""The tables of what a team does beside labelling: decisions on disagreements, lists of keys and comments.

Like labels they point at weights and the name of a key, never at a row of a run file.
"""

from datetime import datetime

from sqlalchemy import Enum, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from keyscope.app.labels.models import Base, Kind, Label, Moment
from keyscope.contract.keys import KeyId


class Adjudication(Base):
    """One decision on a key that people disagree about; the latest is in force, labels stay as they are."""

    __tablename__ = "adjudications"
    __table_args__ = (
        UniqueConstraint("weights_sha256", "layer", "key_index", "number", name="adjudications_one_after_another"),
        Index("adjudications_by_time", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the key belongs to")
    layer: Mapped[int] = mapped_column(comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(comment="Index of the key in its layer, from 0")
    number: Mapped[int] = mapped_column(comment="1 for the first decision on the key, 2 for the one after it")
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who decided")
    kind: Mapped[Kind | None] = mapped_column(
        Enum(Kind, native_enum=False, length=20, values_callable=lambda kinds: [kind.value for kind in kinds]),
        comment="What was decided; empty where the key is open again",
    )
    description: Mapped[str] = mapped_column(Text, comment="Why, in free text")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was decided")

    @property
    def key(self) -> KeyId:
        """The key the decision is about."""
        return KeyId(self.layer, self.key_index)


class KeyList(Base):
    """Keys of one model's weights, put together by a person under a name."""

    __tablename__ = "key_lists"
    __table_args__ = (Index("key_lists_by_time", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), comment="What the list is called")
    owner: Mapped[str] = mapped_column(String(100), comment="Display name of who made it")
    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the keys belong to")
    shared: Mapped[bool] = mapped_column(comment="Seen and filled by everybody, or by its owner alone")
    version: Mapped[int] = mapped_column(comment="Rises when name, sharing or order change")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was made")
    deleted_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was put away")


class ListEntry(Base):
    """One key of a list."""

    __tablename__ = "key_list_entries"
    __table_args__ = (UniqueConstraint("list_id", "layer", "key_index", name="key_list_entries_each_key_once"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    list_id: Mapped[int] = mapped_column(ForeignKey("key_lists.id"), comment="The list")
    layer: Mapped[int] = mapped_column(comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(comment="Index of the key in its layer, from 0")
    position: Mapped[int] = mapped_column(comment="Place in the list; equal places go by id")
    note: Mapped[str] = mapped_column(Text, comment="Free text about the key in this list")
    version: Mapped[int] = mapped_column(comment="Rises when the note changes")
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who put it in")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was put in")

    @property
    def key(self) -> KeyId:
        """The key."""
        return KeyId(self.layer, self.key_index)


class Comment(Base):
    """What a person wrote about a key; its words are the latest of its texts."""

    __tablename__ = "comments"
    __table_args__ = (
        Index("comments_of_key", "weights_sha256", "layer", "key_index"),
        Index("comments_by_time", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the key belongs to")
    layer: Mapped[int] = mapped_column(comment="Layer of the key, from 0")
    key_index: Mapped[int] = mapped_column(comment="Index of the key in its layer, from 0")
    person: Mapped[str] = mapped_column(String(100), comment="Display name of who wrote it")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was written")
    deleted_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was taken back")

    @property
    def key(self) -> KeyId:
        """The key the comment is about."""
        return KeyId(self.layer, self.key_index)


class CommentText(Base):
    """One version of a comment's words; versions are added, never changed."""

    __tablename__ = "comment_texts"
    __table_args__ = (UniqueConstraint("comment_id", "number", name="comment_texts_one_after_another"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    comment_id: Mapped[int] = mapped_column(ForeignKey("comments.id"), comment="The comment")
    number: Mapped[int] = mapped_column(comment="1 for the words it began with, 2 for the first change")
    text: Mapped[str] = mapped_column(Text, comment="Markdown as it was typed")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was typed")


class Mention(Base):
    """A person named in the present words of a comment."""

    __tablename__ = "mentions"
    __table_args__ = (Index("mentions_of_person", "person"),)

    comment_id: Mapped[int] = mapped_column(ForeignKey("comments.id"), primary_key=True, comment="The comment")
    person: Mapped[str] = mapped_column(String(100), primary_key=True, comment="The name, case folded")


# What the recent activity is read by.
Index("labels_by_time", Label.weights_sha256, Label.created_at, Label.id)
Index(
    "labels_taken_back",
    Label.weights_sha256,
    Label.superseded_at,
    sqlite_where=text("retracted = 1"),
    postgresql_where=text("retracted"),
)
