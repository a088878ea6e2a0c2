"""The tables of teamwork: codebook, decisions on disagreements, lists of keys, comments and mentions."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from keyscope.app.database.base import Base, Moment, author, words
from keyscope.app.labels.models import AboutKey, Kind, NamesKey


class CodebookChange(Base):
    """One version of what a kind means; definitions hold for all models, the two keys for one model's weights."""

    __tablename__ = "codebook_changes"
    __table_args__ = (UniqueConstraint("kind", "number", name="codebook_changes_one_after_another"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[Kind] = mapped_column(words(Kind), comment="The kind that is described")
    number: Mapped[int] = mapped_column(comment="1 for the first change of the kind's entry")
    definition: Mapped[str] = mapped_column(Text, comment="What the kind means, for keys of every model")
    weights_sha256: Mapped[str | None] = mapped_column(String(64), comment="Weights of the two keys; empty without any")
    example: Mapped[str | None] = mapped_column(String(30), comment="Name of a key of this kind")
    counter_example: Mapped[str | None] = mapped_column(String(30), comment="Name of a key that only looks like it")
    person: Mapped[str] = author("Display name of who wrote it")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was written")


class Adjudication(AboutKey, Base):
    """One decision on a key that people disagree about; the latest is in force, and labels stay as they are."""

    __tablename__ = "adjudications"
    __table_args__ = (
        UniqueConstraint(
            "weights_sha256", "layer", "key_index", "stack", "number", name="adjudications_one_after_another"
        ),
        Index("adjudications_by_time", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(comment="1 for the first decision on the key, 2 for the one after it")
    person: Mapped[str] = author("Display name of who decided")
    kind: Mapped[Kind | None] = mapped_column(
        words(Kind), comment="What was decided; empty where the key is open again"
    )
    description: Mapped[str] = mapped_column(Text, comment="Why, in free text")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was decided")


class KeyList(Base):
    """A named list of keys of one model's weights."""

    __tablename__ = "key_lists"
    __table_args__ = (Index("key_lists_by_time", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), comment="What the list is called")
    owner: Mapped[str] = author("Display name of who made it")
    weights_sha256: Mapped[str] = mapped_column(String(64), comment="Weights the keys belong to")
    shared: Mapped[bool] = mapped_column(comment="Seen and filled by everybody, or by its owner alone")
    version: Mapped[int] = mapped_column(comment="Rises when name, sharing or order change")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was made")
    deleted_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was put away")


class ListEntry(NamesKey, Base):
    __tablename__ = "key_list_entries"
    __table_args__ = (
        UniqueConstraint("list_id", "layer", "key_index", "stack", name="key_list_entries_each_key_once"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    list_id: Mapped[int] = mapped_column(ForeignKey("key_lists.id"), comment="The list")
    position: Mapped[int] = mapped_column(comment="Place in the list; equal places go by id")
    note: Mapped[str] = mapped_column(Text, comment="Free text about the key in this list")
    version: Mapped[int] = mapped_column(comment="Rises when the note changes")
    person: Mapped[str] = author("Display name of who put it in")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was put in")


class Comment(AboutKey, Base):
    """A person's comment on a key; the latest of its texts is shown."""

    __tablename__ = "comments"
    __table_args__ = (
        Index("comments_of_key", "weights_sha256", "layer", "key_index", "stack"),
        Index("comments_by_time", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[str] = author("Display name of who wrote it")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was written")
    deleted_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was taken back")


class CommentText(Base):
    """One version of a comment's text; versions are added, never changed."""

    __tablename__ = "comment_texts"
    __table_args__ = (UniqueConstraint("comment_id", "number", name="comment_texts_one_after_another"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    comment_id: Mapped[int] = mapped_column(ForeignKey("comments.id"), comment="The comment")
    number: Mapped[int] = mapped_column(comment="1 for the words it began with, 2 for the first change")
    text: Mapped[str] = mapped_column(Text, comment="Markdown as it was typed")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was typed")


class Mention(Base):
    """A person mentioned in a comment's latest text."""

    __tablename__ = "mentions"
    __table_args__ = (Index("mentions_of_person", "person"),)

    comment_id: Mapped[int] = mapped_column(ForeignKey("comments.id"), primary_key=True, comment="The comment")
    person: Mapped[str] = mapped_column(String(100), primary_key=True, comment="The name, case folded")
