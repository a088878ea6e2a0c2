"""Concepts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "concepts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(40), nullable=False, comment="Letters, digits and hyphens"),
        sa.Column("number", sa.Integer(), nullable=False, comment="1 for the first version, 2 for the one after it"),
        sa.Column("title", sa.String(100), nullable=False, comment="What people call it"),
        sa.Column("description", sa.Text(), nullable=False, comment="Free text"),
        sa.Column("patterns", sa.JSON(), nullable=False, comment="By language: regex, identifiers or query"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who defined it so"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was defined so"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "number", name="concepts_one_after_another"),
    )


def downgrade() -> None:
    op.drop_table("concepts")
