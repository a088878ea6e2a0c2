"""Tokens of programs: shown once, known by their digest, never more powerful than their person."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.credentials import TOKEN_PREFIX, digest, new_secret
from app.accounts.models import Account, ApiToken
from app.accounts.roles import Role
from app.errors import InvalidParameter
from app.labels.people import person_name

MOST = 50


def create(session: Session, account: Account, name: str, role: Role) -> str:
    """A new token; answers its text, which is nowhere else.

    Raises:
        InvalidParameter: the name cannot be one, the person has no such role, or too many tokens.
    """
    name = person_name(name)
    if not account.role.may(role):
        raise InvalidParameter(f"{account.name} has the role {account.role}, so no token of theirs can have {role}")
    if len(of_account(session, account.id)) >= MOST:
        raise InvalidParameter(f"{account.name} has {MOST} tokens already: revoke one first")
    secret = new_secret(TOKEN_PREFIX)
    session.add(
        ApiToken(
            account_id=account.id,
            name=name,
            role=role,
            secret_sha256=digest(secret),
            created_at=datetime.now(UTC),
        )
    )
    return secret


def find(session: Session, secret: str) -> ApiToken | None:
    """The token of that text, of a person who may sign in."""
    return next(iter(holding(session, [digest(secret)])), None)


def holding(session: Session, digests: Collection[str]) -> list[ApiToken]:
    """Those of the tokens with these digests that still hold, of people who may sign in."""
    chosen = select(ApiToken).join(ApiToken.account)
    return list(session.scalars(chosen.where(ApiToken.secret_sha256.in_(digests), Account.disabled_at.is_(None))))


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
