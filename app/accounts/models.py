"""The tables of accounts: people, their browser sessions, tokens and invitations, and recent attempts to sign in.

Secrets (of sessions, tokens and invitations) are stored as sha256 only, passwords as argon2 hashes only.
"""

from datetime import UTC, datetime

from sqlalchemy import Double, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from keyscope.app.database.base import Base, Moment, words
from keyscope.app.roles import Role

_ROLE = words(Role)


class Account(Base):
    """A person who signs in; disabled rather than deleted, because labels keep the name."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject", name="accounts_one_subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True, comment="Display name, as labels bear it")
    folded_name: Mapped[str] = mapped_column(
        String(400),
        unique=True,
        comment="The name without case and variants of characters: nobody can look like another",
    )
    role: Mapped[Role] = mapped_column(_ROLE, comment="viewer, labeler or admin")
    password_hash: Mapped[str | None] = mapped_column(
        String(200), comment="argon2; empty until an invitation is accepted, and for who signs in elsewhere"
    )
    issuer: Mapped[str | None] = mapped_column(String(255), comment="OpenID provider the person signs in with")
    subject: Mapped[str | None] = mapped_column(String(255), comment="The provider's name for the person")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When the account was made")
    disabled_at: Mapped[datetime | None] = mapped_column(Moment, comment="When signing in was forbidden")


class BrowserSession(Base):
    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    account: Mapped[Account] = relationship(lazy="joined", innerjoin=True)
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True, comment="sha256 of the cookie")
    browser: Mapped[str] = mapped_column(String(200), comment="What the browser said it is")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When the person signed in")
    seen_at: Mapped[datetime] = mapped_column(Moment, comment="When it was last used, to a few minutes")
    expires_at: Mapped[datetime] = mapped_column(Moment, comment="When it ends by itself")


class ApiToken(Base):
    """The credential of a program that acts for a person."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    account: Mapped[Account] = relationship(lazy="joined", innerjoin=True)
    name: Mapped[str] = mapped_column(String(100), comment="What it is for")
    role: Mapped[Role] = mapped_column(_ROLE, comment="Most it may do; never more than the person may")
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True, comment="sha256 of the token")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was made")
    expires_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it ends; empty for never")
    used_at: Mapped[datetime | None] = mapped_column(Moment, comment="When it was last used, to a few minutes")

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


class Invitation(Base):
    """A code that lets its holder choose the password of an account, once."""

    __tablename__ = "invitations"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    account: Mapped[Account] = relationship(lazy="joined", innerjoin=True)
    code_sha256: Mapped[str] = mapped_column(String(64), unique=True, comment="sha256 of the code")
    expires_at: Mapped[datetime] = mapped_column(Moment, comment="When it ends by itself")


class SignInAttempts(Base):
    """Recent attempts to sign in that share a limit: by name, by address, by both or by device."""

    __tablename__ = "sign_in_attempts"

    bucket: Mapped[str] = mapped_column(String(64), primary_key=True, comment="sha256 of the name or the address")
    clear_at: Mapped[float] = mapped_column(Double, comment="When all tries are forgotten, in seconds since 1970")
