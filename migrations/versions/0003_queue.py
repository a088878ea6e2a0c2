"""Leases and skips of the labelling queue, and an index for the history of a key."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("labels_of_key", "labels", ["weights_sha256", "layer", "key_index"], unique=False)
    op.create_table(
        "leases",
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who has it"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it is free again"),
        sa.PrimaryKeyConstraint("weights_sha256", "layer", "key_index"),
    )
    op.create_table(
        "skips",
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who skipped it"),
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        sa.Column("skipped_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last skipped"),
        sa.PrimaryKeyConstraint("weights_sha256", "person", "layer", "key_index"),
    )


def downgrade() -> None:
    op.drop_table("skips")
    op.drop_table("leases")
    op.drop_index("labels_of_key", table_name="labels")
