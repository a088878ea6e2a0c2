"""The codebook of kinds."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "codebook_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False, comment="The kind that is described"),
        sa.Column("number", sa.Integer(), nullable=False, comment="1 for the first change of the kind's entry"),
        sa.Column("definition", sa.Text(), nullable=False, comment="What the kind means, for keys of every model"),
        sa.Column("weights_sha256", sa.String(64), nullable=True, comment="Weights of the two keys; empty without any"),
        sa.Column("example", sa.String(30), nullable=True, comment="Name of a key of this kind"),
        sa.Column("counter_example", sa.String(30), nullable=True, comment="Name of a key that only looks like it"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who wrote it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was written"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "number", name="codebook_changes_one_after_another"),
    )


def downgrade() -> None:
    op.drop_table("codebook_changes")
