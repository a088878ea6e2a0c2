"""Tokens can expire; those that earlier releases make never do."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    expires_at = sa.DateTime(timezone=True)
    op.add_column("tokens", sa.Column("expires_at", expires_at, nullable=True, comment="When it ends; empty for never"))


def downgrade() -> None:
    op.drop_column("tokens", "expires_at")
