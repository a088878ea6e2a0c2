"""Adjudications, lists of keys and comments."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "adjudications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="1 for the first decision on the key, 2 for the one after it",
        ),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who decided"),
        sa.Column("kind", sa.String(20), nullable=True, comment="What was decided; empty where the key is open again"),
        sa.Column("description", sa.Text(), nullable=False, comment="Why, in free text"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was decided"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("weights_sha256", "layer", "key_index", "number", name="adjudications_one_after_another"),
    )
    op.create_index("adjudications_by_time", "adjudications", ["created_at"], unique=False)
    op.create_table(
        "comments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who wrote it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was written"),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When it was taken back"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("comments_by_time", "comments", ["created_at"], unique=False)
    op.create_index("comments_of_key", "comments", ["weights_sha256", "layer", "key_index"], unique=False)
    op.create_table(
        "key_lists",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False, comment="What the list is called"),
        sa.Column("owner", sa.String(100), nullable=False, comment="Display name of who made it"),
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the keys belong to"),
        sa.Column(
            "shared", sa.Boolean(), nullable=False, comment="Seen and filled by everybody, or by its owner alone"
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="Rises when name, sharing or order change"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made"),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When it was put away"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("key_lists_by_time", "key_lists", ["created_at"], unique=False)
    op.create_table(
        "comment_texts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("comment_id", sa.Integer(), nullable=False, comment="The comment"),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="1 for the words it began with, 2 for the first change"
        ),
        sa.Column("text", sa.Text(), nullable=False, comment="Markdown as it was typed"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was typed"),
        sa.ForeignKeyConstraint(
            ["comment_id"],
            ["comments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("comment_id", "number", name="comment_texts_one_after_another"),
    )
    op.create_table(
        "key_list_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("list_id", sa.Integer(), nullable=False, comment="The list"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column("position", sa.Integer(), nullable=False, comment="Place in the list; equal places go by id"),
        sa.Column("note", sa.Text(), nullable=False, comment="Free text about the key in this list"),
        sa.Column("version", sa.Integer(), nullable=False, comment="Rises when the note changes"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who put it in"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was put in"),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["key_lists.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("list_id", "layer", "key_index", name="key_list_entries_each_key_once"),
    )
    op.create_table(
        "mentions",
        sa.Column("comment_id", sa.Integer(), nullable=False, comment="The comment"),
        sa.Column("person", sa.String(100), nullable=False, comment="The name, case folded"),
        sa.ForeignKeyConstraint(
            ["comment_id"],
            ["comments.id"],
        ),
        sa.PrimaryKeyConstraint("comment_id", "person"),
    )
    op.create_index("mentions_of_person", "mentions", ["person"], unique=False)
    op.create_index("labels_by_time", "labels", ["weights_sha256", "created_at", "id"], unique=False)
    op.create_index(
        "labels_taken_back",
        "labels",
        ["weights_sha256", "superseded_at"],
        unique=False,
        sqlite_where=sa.text("retracted = 1"),
        postgresql_where=sa.text("retracted"),
    )


def downgrade() -> None:
    op.drop_index("labels_taken_back", table_name="labels")
    op.drop_index("labels_by_time", table_name="labels")
    op.drop_index("mentions_of_person", table_name="mentions")
    op.drop_table("mentions")
    op.drop_table("key_list_entries")
    op.drop_table("comment_texts")
    op.drop_index("key_lists_by_time", table_name="key_lists")
    op.drop_table("key_lists")
    op.drop_index("comments_of_key", table_name="comments")
    op.drop_index("comments_by_time", table_name="comments")
    op.drop_table("comments")
    op.drop_index("adjudications_by_time", table_name="adjudications")
    op.drop_table("adjudications")
