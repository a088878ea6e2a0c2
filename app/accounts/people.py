"""Accounts added, found and changed; only this room's repositories speak to the session."""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts import sessions, tokens
from app.accounts.models import Account
from app.accounts.roles import Role
from app.errors import NotFound
from app.labels.people import person_name
from contract.errors import KeyscopeError


class UnknownPerson(NotFound):
    """Nobody of that name has an account."""

    code = "unknown_person"


class NameTaken(KeyscopeError):
    """Somebody else has that name, or one that looks like it."""

    code = "name_taken"
    status = 409


class LastAdmin(KeyscopeError):
    """Without this person nobody could manage accounts."""

    code = "last_admin"
    status = 409


def everyone(session: Session) -> list[Account]:
    """All accounts by name, disabled ones included."""
    return list(session.scalars(select(Account).order_by(Account.folded_name)))


def find(session: Session, name: str) -> Account | None:
    """The account of a name, however it is capitalised."""
    return session.scalar(select(Account).where(Account.folded_name == folded(name)))


def get(session: Session, name: str) -> Account:
    """The account of a name.

    Raises:
        UnknownPerson: there is none.
    """
    account = find(session, name)
    if account is None:
        raise UnknownPerson(f"nobody is called {name!r}: `keyscope users list` shows who there is")
    return account


def by_id(session: Session, account_id: int) -> Account:
    """The account of an id.

    Raises:
        UnknownPerson: there is none.
    """
    account = session.get(Account, account_id)
    if account is None:
        raise UnknownPerson(f"there is no account {account_id}")
    return account


def add(session: Session, name: str, role: Role, password_hash: str | None = None) -> Account:
    """A new account; without a password nobody can sign in to it before an invitation is accepted.

    Raises:
        InvalidParameter: the name cannot be one.
        NameTaken: somebody has the name.
    """
    name = person_name(name)
    taken = find(session, name)
    if taken is not None:
        raise NameTaken(f"there is a {taken.name!r} already: choose another name")
    account = Account(
        name=name,
        folded_name=folded(name),
        role=role,
        password_hash=password_hash,
        created_at=datetime.now(UTC),
    )
    session.add(account)
    session.flush()
    return account


def set_role(session: Session, account: Account, role: Role) -> None:
    """Give another role; it holds from the next request on.

    Raises:
        LastAdmin: it takes the last admin's role.
    """
    if role is not Role.ADMIN:
        _keep_an_admin(session, account)
    account.role = role


def disable(session: Session, account: Account) -> None:
    """Forbid signing in; sessions and tokens end, labels stay.

    Raises:
        LastAdmin: it is the last admin.
    """
    _keep_an_admin(session, account)
    account.disabled_at = account.disabled_at or datetime.now(UTC)
    sessions.end_all(session, account.id)
    tokens.revoke_all(session, account.id)


def enable(account: Account) -> None:
    """Allow signing in again."""
    account.disabled_at = None


def set_password(session: Session, account_id: int, password_hash: str, keep_session: int | None = None) -> None:
    """Another password; sessions end, the one it was changed in perhaps left."""
    session.execute(update(Account).where(Account.id == account_id).values(password_hash=password_hash))
    sessions.end_all(session, account_id, but=keep_session)


def folded(name: str) -> str:
    """A name without case, white space at its ends and variants of characters, to tell whether two are the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", " ".join(name.split())).casefold())


def _keep_an_admin(session: Session, account: Account) -> None:
    # Locked, so that two admins who demote each other at the same moment come one after the other.
    chosen = select(Account).where(Account.role == Role.ADMIN, Account.disabled_at.is_(None)).with_for_update()
    admins: Sequence[Account] = session.scalars(chosen).all()
    if [admin.id for admin in admins] == [account.id]:
        raise LastAdmin(f"{account.name} is the only admin: make somebody else one first")
