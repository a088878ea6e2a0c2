"""Accounts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False, comment="Display name, as labels bear it"),
        sa.Column(
            "folded_name",
            sa.String(400),
            nullable=False,
            comment="The name without case and variants of characters: nobody can look like another",
        ),
        sa.Column("role", sa.String(20), nullable=False, comment="viewer, labeler or admin"),
        sa.Column(
            "password_hash",
            sa.String(200),
            nullable=True,
            comment="argon2; empty until an invitation is accepted, and for who signs in elsewhere",
        ),
        sa.Column("issuer", sa.String(255), nullable=True, comment="OpenID provider the person signs in with"),
        sa.Column("subject", sa.String(255), nullable=True, comment="The provider's name for the person"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When the account was made"),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True, comment="When signing in was forbidden"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("folded_name"),
        sa.UniqueConstraint("issuer", "subject", name="accounts_one_subject"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False, comment="sha256 of the cookie"),
        sa.Column("browser", sa.String(200), nullable=False, comment="What the browser said it is"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When the person signed in"),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last used, to a few minutes"
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it ends by itself"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_sha256"),
    )
    op.create_index("ix_sessions_account_id", "sessions", ["account_id"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False, comment="What it is for"),
        sa.Column("role", sa.String(20), nullable=False, comment="Most it may do; never more than the person may"),
        sa.Column("secret_sha256", sa.String(64), nullable=False, comment="sha256 of the token"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was made"),
        sa.Column(
            "used_at", sa.DateTime(timezone=True), nullable=True, comment="When it was last used, to a few minutes"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_sha256"),
    )
    op.create_index("ix_tokens_account_id", "tokens", ["account_id"])
    op.create_table(
        "invitations",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("code_sha256", sa.String(64), nullable=False, comment="sha256 of the code"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it ends by itself"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id"),
        sa.UniqueConstraint("code_sha256"),
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("bucket", sa.String(64), nullable=False, comment="sha256 of the name or the address"),
        sa.Column(
            "clear_at", sa.Double(), nullable=False, comment="When all tries are forgotten, in seconds since 1970"
        ),
        sa.PrimaryKeyConstraint("bucket"),
    )


def downgrade() -> None:
    for table in ("sign_in_attempts", "invitations", "tokens", "sessions", "accounts"):
        op.drop_table(table)
