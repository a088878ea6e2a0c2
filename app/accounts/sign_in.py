"""Signing in, and passwords chosen and changed: tries are counted first, and no transaction waits for a slow hash."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from keyscope.app.accounts import invitations, people, sessions, throttle
from keyscope.app.accounts.identity import SignedIn
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.passwords import hash_password, is_password
from keyscope.app.database.engine import Database
from keyscope.contract.errors import KeyscopeError


class WrongPassword(KeyscopeError):
    """Name and password do not belong together; which of the two is wrong is not said."""

    code = "wrong_password"
    status = 403


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a try to sign in comes from."""

    address: str
    browser: str
    """What the browser says it is."""


def sign_in(database: Database, name: str, password: str, origin: Origin) -> str:
    """The secret of a new session.

    Raises:
        TooManyAttempts: there were too many tries.
        WrongPassword: there is nobody of that name and password who may sign in.
    """
    account = _verified(database, name, password, origin)
    return database.write(lambda session: sessions.begin(session, account.id, origin.browser))


def accept_invitation(database: Database, name: str, code: str, password: str, origin: Origin) -> str:
    """Choose the password of an account and sign in; answers the secret of the new session.

    Raises:
        InvalidInvitation: the code does not hold, or is for another name.
        InvalidParameter: the password cannot be one; the code still holds then.
    """
    database.read(lambda session: invitations.check(session, name, code))
    password_hash = hash_password(password)

    def use(session: Session) -> str:
        account_id = invitations.use(session, name, code)
        people.set_password(session, account_id, password_hash)
        return sessions.begin(session, account_id, origin.browser)

    return database.write(use)


def change_password(database: Database, who: SignedIn, old: str, new: str, origin: Origin) -> None:
    """Another password; everywhere but here the person is signed out.

    Raises:
        TooManyAttempts: there were too many tries.
        WrongPassword: the old one is wrong.
        InvalidParameter: the new one cannot be one.
    """
    account = _verified(database, who.person.name, old, origin)
    password_hash = hash_password(new)
    database.write(lambda session: people.set_password(session, account.id, password_hash, who.session_id))


def confirm(database: Database, who: SignedIn, password: str, origin: Origin) -> None:
    """Nothing, where somebody who has signed in knows the password too: a browser left open is not enough.

    Raises:
        TooManyAttempts: there were too many tries.
        WrongPassword: it is wrong, or there is none.
    """
    _verified(database, who.person.name, password, origin)


def _verified(database: Database, name: str, password: str, origin: Origin) -> Account:
    database.write(lambda session: throttle.count_attempt(session, name, origin.address))
    account = database.read(lambda session: people.find(session, name))
    right = is_password(password, account.password_hash if account else None)
    if account is None or account.disabled_at or not right:
        raise WrongPassword("the name or the password is wrong")
    database.write(lambda session: throttle.forget_name(session, name))
    return account
