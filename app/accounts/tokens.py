"""Tokens of programs: shown once, known by their digest, never more powerful than their person, and mostly for a time."""

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
    """When a token expires, as people choose it."""

    MONTH = "in 30 days"
    QUARTER = "in 90 days"
    YEAR = "in a year"
    ENDLESS = "never"

    def end(self, begin: datetime) -> datetime | None:
        """When a token made at a moment expires; None for never."""
        days = {Lifetime.MONTH: 30, Lifetime.QUARTER: 90, Lifetime.YEAR: 365}.get(self)
        return None if days is None else begin + timedelta(days=days)


def create(session: Session, account: Account, name: str, role: Role, lifetime: Lifetime = Lifetime.QUARTER) -> str:
    """A new token; answers its text, which is nowhere else.

    Raises:
        InvalidParameter: the name cannot be one, the person has no such role, or too many tokens.
    """
    name = person_name(name)
    if not account.role.may(role):
        raise InvalidParameter(f"{account.name} has the role {account.role}, so no token of theirs can have {role}")
    if len(of_account(session, account.id)) >= MOST:
        raise InvalidParameter(f"{account.name} has {MOST} tokens already: revoke one first")
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
    """The token of that text, of a person who may sign in; it may have expired."""
    return session.scalars(_of_people_who_may_sign_in([digest(secret)])).one_or_none()


def holding(session: Session, digests: Collection[str]) -> list[ApiToken]:
    """Those of the tokens with these digests that still hold, of people who may sign in."""
    unexpired = or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > datetime.now(UTC))
    return list(session.scalars(_of_people_who_may_sign_in(digests).where(unexpired)))


def role_of(token: ApiToken) -> Role:
    """What a token may do: its own role, or its person's where that is less by now."""
    return token.role if token.account.role.may(token.role) else token.account.role


def of_account(session: Session, account_id: int) -> list[ApiToken]:
    """A person's tokens, the newest first."""
    return list(session.scalars(select(ApiToken).where(ApiToken.account_id == account_id).order_by(ApiToken.id.desc())))


def revoke(session: Session, account_id: int, token_id: int) -> None:
    """End one token of a person; nothing where it has ended already."""
    session.execute(delete(ApiToken).where(ApiToken.id == token_id, ApiToken.account_id == account_id))


def revoke_all(session: Session, account_id: int) -> None:
    """End all tokens of a person."""
    session.execute(delete(ApiToken).where(ApiToken.account_id == account_id))


def _of_people_who_may_sign_in(digests: Collection[str]) -> Select[ApiToken]:
    chosen = select(ApiToken).join(ApiToken.account)
    return chosen.where(ApiToken.secret_sha256.in_(digests), Account.disabled_at.is_(None))
