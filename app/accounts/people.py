"""Accounts added, found and changed; only this room's repositories speak to the session."""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from sqlalchemy import ColumnElement, select, union, update
from sqlalchemy.orm import Session

from keyscope.app.accounts import sessions, tokens
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.names import person_name
from keyscope.app.accounts.oidc import Identity
from keyscope.app.database.base import author_columns
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError

LONGEST_FOLDED = 400
"""Characters of a folded name that the database keeps."""


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
    if len(folded(name)) > LONGEST_FOLDED:
        raise InvalidParameter(f"{name!r} has characters that stand for many others: write them out")
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


def of_identity(session: Session, identity: Identity) -> Account | None:
    """The account that somebody an OpenID provider vouches for signs in to."""
    chosen = select(Account).where(Account.issuer == identity.issuer, Account.subject == identity.subject)
    return session.scalar(chosen)


def from_provider(session: Session, identity: Identity, role: Role) -> Account:
    """The account of somebody an OpenID provider vouches for, made at their first sign-in.

    The name is one that nothing bears yet, however it is capitalised: what people may call themselves at the provider must
    not make them somebody else here, and private lists belong to a name.
    """
    known = of_identity(session, identity)
    if known is not None:
        return known
    taken = _taken(session)
    name = next(name for name in _possible_names(identity) if folded(name) not in taken)
    account = add(session, name, role)
    account.issuer, account.subject = identity.issuer, identity.subject
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


def lock(session: Session, *where: ColumnElement[bool]) -> None:
    """Keep others from changing these accounts until the end, so that what is read from now on stays true."""
    # A write, for SQLite knows no SELECT … FOR UPDATE and takes its lock here; PostgreSQL takes those of the rows.
    session.execute(update(Account).where(*where).values(role=Account.role))


def folded(name: str) -> str:
    """A name without case, white space at its ends and variants of characters, to tell whether two are the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", " ".join(name.split())).casefold())


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
    """The folded names of everybody who has an account, or has said or made anything."""
    # Databases fold case differently, so fold here; `union` removes duplicates.
    names = union(*map(select, [Account.folded_name, *author_columns()]))
    return {folded(name) for name in session.scalars(names)}


def _keep_an_admin(session: Session, account: Account) -> None:
    # Two admins who demote each other at the same moment come one after the other.
    an_admin = Account.role == Role.ADMIN, Account.disabled_at.is_(None)
    lock(session, *an_admin)
    if session.scalars(select(Account.id).where(*an_admin)).all() == [account.id]:
        raise LastAdmin(f"{account.name} is the only admin: make somebody else one first")
