"""Accounts: add, find and change them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from sqlalchemy import ColumnElement, select, union, update
from sqlalchemy.orm import Session

from keyscope.app.accounts import sessions, tokens
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.names import folded, outline, person_name
from keyscope.app.accounts.oidc import Identity
from keyscope.app.database.base import author_columns
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError

LONGEST_FOLDED = 400
"""The width of the database column."""


class UnknownPerson(NotFound):
    """Nobody with that name has an account."""


class NameTaken(KeyscopeError, status=409):
    """Somebody else has that name, or one that looks the same."""


class LastAdmin(KeyscopeError, status=409):
    """Without this person, nobody could manage accounts."""


def everyone(session: Session) -> list[Account]:
    """All accounts by name, including disabled ones."""
    return list(session.scalars(select(Account).order_by(Account.folded_name)))


def find(session: Session, name: str) -> Account | None:
    """The account with a name, ignoring case and variants of characters."""
    return session.scalar(select(Account).where(Account.folded_name == folded(name)))


def get(session: Session, name: str) -> Account:
    """The account with a name, as `find`.

    Raises:
        UnknownPerson: there is none.
    """
    account = find(session, name)
    if account is None:
        raise UnknownPerson(f"there is no account {name!r}: `keyscope users list` shows all accounts")
    return account


def by_id(session: Session, account_id: int) -> Account:
    """The account with an id.

    Raises:
        UnknownPerson: there is none.
    """
    account = session.get(Account, account_id)
    if account is None:
        raise UnknownPerson(f"there is no account {account_id}")
    return account


def add(session: Session, name: str, role: Role, password_hash: str | None = None) -> Account:
    """Add an account; without a password, its person needs an invitation before they can sign in.

    Raises:
        InvalidParameter: the name is not valid.
        NameTaken: another account has the name, or one that looks the same.
    """
    name = person_name(name)
    if len(folded(name)) > LONGEST_FOLDED:
        raise InvalidParameter(f"{name!r} has characters that expand to many others: write them out")
    taken = next((each for each in everyone(session) if outline(each.name) == outline(name)), None)
    if taken is not None:
        there_is = "there is already an account" if taken.folded_name == folded(name) else f"{name!r} looks like"
        raise NameTaken(f"{there_is} {taken.name!r}: choose another name")
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


def of_identity(session: Session, identity: Identity) -> Account | None:
    """The account that an identity at an OpenID provider signs in to."""
    chosen = select(Account).where(Account.issuer == identity.issuer, Account.subject == identity.subject)
    return session.scalar(chosen)


def from_provider(session: Session, identity: Identity, role: Role) -> Account:
    """The account of an identity at an OpenID provider, made at its first sign-in.

    The account gets a name that no account, label, list or comment has yet. People can choose their names at the
    provider, and private lists belong to a name, so a chosen name must not make anybody somebody else here.
    """
    known = of_identity(session, identity)
    if known is not None:
        return known
    taken = _taken(session)
    name = next(name for name in _possible_names(identity) if outline(name) not in taken)
    account = add(session, name, role)
    account.issuer, account.subject = identity.issuer, identity.subject
    return account


def set_role(session: Session, account: Account, role: Role) -> None:
    """Change a role, effective from the next request.

    Raises:
        LastAdmin: the account is the last admin.
    """
    if role is not Role.ADMIN:
        _keep_an_admin(session, account)
    account.role = role


def disable(session: Session, account: Account) -> None:
    """Forbid signing in; sessions and tokens end, labels stay.

    Raises:
        LastAdmin: the account is the last admin.
    """
    _keep_an_admin(session, account)
    account.disabled_at = account.disabled_at or datetime.now(UTC)
    sessions.end_all(session, account.id)
    tokens.revoke_all(session, account.id)


def enable(account: Account) -> None:
    account.disabled_at = None


def set_password(session: Session, account_id: int, password_hash: str, keep_session: int | None = None) -> None:
    """Change the password and end all sessions, except `keep_session`."""
    session.execute(update(Account).where(Account.id == account_id).values(password_hash=password_hash))
    sessions.end_all(session, account_id, but=keep_session)


def lock(session: Session, *where: ColumnElement[bool]) -> None:
    """Block other changes to these accounts until the transaction ends, so what is read next stays true."""
    # SQLite has no SELECT … FOR UPDATE, but any write takes its lock; PostgreSQL locks the rows.
    session.execute(update(Account).where(*where).values(role=Account.role))


def _possible_names(identity: Identity) -> Iterator[str]:
    names = [name for name in map(_usable, identity.names) if name]
    yield from names
    first = names[0][:90] if names else "somebody"
    yield from (f"{first} {number}" for number in count(2))


def _usable(text: str) -> str | None:
    try:
        return person_name(text)
    except InvalidParameter:
        return None


def _taken(session: Session) -> set[str]:
    """The outlines of the names of all accounts and of all authors in the database."""
    # Databases fold case differently, so fold here; `union` removes duplicates.
    names = union(*map(select, [Account.folded_name, *author_columns()]))
    return {outline(name) for name in session.scalars(names)}


def _keep_an_admin(session: Session, account: Account) -> None:
    # The lock serialises two admins who demote each other at the same moment.
    an_admin = Account.role == Role.ADMIN, Account.disabled_at.is_(None)
    lock(session, *an_admin)
    if session.scalars(select(Account.id).where(*an_admin)).all() == [account.id]:
        raise LastAdmin(f"{account.name} is the only admin: make somebody else an admin first")
