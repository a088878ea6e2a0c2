"""Labels and baskets."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who says so"),
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column("kind", sa.String(20), nullable=False, comment="syntactic, semantic, mixed or unclear"),
        sa.Column("description", sa.Text(), nullable=False, comment="Free text"),
        sa.Column("confidence", sa.Double(), nullable=True, comment="0 to 1, empty where not given"),
        sa.Column("tags", sa.JSON(), nullable=False, comment="Free-form tags"),
        sa.Column("evidence", sa.JSON(), nullable=False, comment="Places the label rests on: file and offset"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was given"),
        sa.Column(
            "superseded_at", sa.DateTime(timezone=True), nullable=True, comment="When it was replaced or taken back"
        ),
        sa.Column("retracted", sa.Boolean(), nullable=False, comment="Taken back, with no other label in its place"),
        sa.CheckConstraint("confidence IS NULL OR confidence BETWEEN 0 AND 1", name="labels_confidence"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "labels_one_current",
        "labels",
        ["weights_sha256", "layer", "key_index", "person"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "baskets",
        sa.Column("id", sa.String(20), nullable=False, comment="Start of the sha256 of the masks' text"),
        sa.Column("masks", sa.Text(), nullable=False, comment="The basket as addresses write it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was saved"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("baskets")
    op.drop_table("labels")
