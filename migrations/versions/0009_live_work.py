"""Jobs outlive a restart of their worker, and workers can announce themselves."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False, comment="Its worker's name for it"),
        sa.Column("worker", sa.String(300), nullable=False, comment="Address of the worker that computes it"),
        sa.Column("run", sa.String(255), nullable=False, comment="Run it is about"),
        sa.Column("state", sa.String(20), nullable=False, comment="queued, running, done, failed or cancelled"),
        sa.Column("submitted_at", moment, nullable=False, comment="When it was started"),
        sa.Column("seen_at", moment, nullable=False, comment="When its worker told of it last"),
        sa.Column("told", sa.JSON(), nullable=False, comment="What its worker told, as the JSON API shows it"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_by_time", "jobs", ["submitted_at"])
    op.create_index("jobs_by_state", "jobs", ["state"])
    op.create_table(
        "workers",
        sa.Column("url", sa.String(300), nullable=False, comment="Address by which the server reaches it"),
        sa.Column("expires_at", moment, nullable=False, comment="When it counts as gone, unless it says so again"),
        sa.PrimaryKeyConstraint("url"),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("jobs")
