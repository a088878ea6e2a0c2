"""Tokens of programs: shown once, found by their digest, never more powerful than their person, usually with an expiry."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.credentials import TOKEN_PREFIX, digest, new_secret
from keyscope.app.accounts.models import Account, ApiToken
from keyscope.app.accounts.names import person_name
from keyscope.app.errors import InvalidParameter
from keyscope.app.roles import Role

MOST = 50


class Lifetime(StrEnum):
    """The choices for a token's expiry."""

    MONTH = "in 30 days"
    QUARTER = "in 90 days"
    YEAR = "in a year"
    ENDLESS = "never"

    def end(self, begin: datetime) -> datetime | None:
        """The expiry of a token made at `begin`; None for never."""
        days = {Lifetime.MONTH: 30, Lifetime.QUARTER: 90, Lifetime.YEAR: 365}.get(self)
        return None if days is None else begin + timedelta(days=days)


def create(session: Session, account: Account, name: str, role: Role, lifetime: Lifetime = Lifetime.QUARTER) -> str:
    """Make a token and return its text; only the digest is stored.

    Raises:
        InvalidParameter: the name is not valid, the role exceeds the person's, or the person has too many tokens.
    """
    name = person_name(name)
    if not account.role.may(role):
        raise InvalidParameter(f"{account.name} is a {account.role}, so their tokens cannot have the role {role}")
    if len(of_account(session, account.id)) >= MOST:
        raise InvalidParameter(f"{account.name} already has {MOST} tokens: revoke one first")
    secret, now = new_secret(TOKEN_PREFIX), datetime.now(UTC)
    session.add(
        ApiToken(
            account_id=account.id,
            name=name,
            role=role,
            secret_sha256=digest(secret),
            created_at=now,
            expires_at=lifetime.end(now),
        )
    )
    return secret


def find(session: Session, secret: str) -> ApiToken | None:
    """The token with that text, expired or not, if its person may sign in."""
    return session.scalars(_of_people_who_may_sign_in([digest(secret)])).one_or_none()


def holding(session: Session, digests: Collection[str]) -> list[ApiToken]:
    """The unexpired tokens with these digests, of people who may sign in."""
    unexpired = or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > datetime.now(UTC))
    return list(session.scalars(_of_people_who_may_sign_in(digests).where(unexpired)))


def role_of(token: ApiToken) -> Role:
    """The lower of the token's role and its person's current role."""
    return token.role if token.account.role.may(token.role) else token.account.role


def of_account(session: Session, account_id: int) -> list[ApiToken]:
    """A person's tokens, the newest first."""
    return list(session.scalars(select(ApiToken).where(ApiToken.account_id == account_id).order_by(ApiToken.id.desc())))


def revoke(session: Session, account_id: int, token_id: int) -> None:
    """Delete one token of a person, if it still exists."""
    session.execute(delete(ApiToken).where(ApiToken.id == token_id, ApiToken.account_id == account_id))


def revoke_all(session: Session, account_id: int) -> None:
    """Delete all tokens of a person."""
    session.execute(delete(ApiToken).where(ApiToken.account_id == account_id))


def _of_people_who_may_sign_in(digests: Collection[str]) -> Select[ApiToken]:
    chosen = select(ApiToken).join(ApiToken.account)
    return chosen.where(ApiToken.secret_sha256.in_(digests), Account.disabled_at.is_(None))
