"""Sign in, and choose and change passwords; attempts are counted first, and no transaction waits for a slow hash."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from keyscope.app.accounts import devices, invitations, people, sessions, throttle
from keyscope.app.accounts.identity import SignedIn
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.passwords import hash_password, is_password
from keyscope.app.database.engine import Database
from keyscope.contract.errors import KeyscopeError


class WrongPassword(KeyscopeError, status=403):
    """The name or the password is wrong; the answer does not reveal which."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an attempt to sign in comes from."""

    address: str
    browser: str
    """The browser's `User-Agent`."""
    mark: str = ""
    """What the browser keeps of an earlier sign-in, see `devices`."""


def sign_in(database: Database, name: str, password: str, origin: Origin) -> str:
    """Sign in with a password and return the secret of the new session.

    Raises:
        TooManyAttempts: there were too many attempts.
        TooManyPasswords: too many passwords are checked at the moment.
        WrongPassword: no enabled account has that name and password.
    """
    account = check_password(database, name, password, origin)
    return database.write(lambda session: sessions.begin(session, account.id, origin.browser))


def accept_invitation(database: Database, name: str, code: str, password: str, origin: Origin) -> str:
    """Choose an account's password, sign in, and return the secret of the new session.

    Raises:
        InvalidInvitation: the code is not valid, or is for another name.
        InvalidParameter: the password is not acceptable; the code stays valid.
    """
    database.read(lambda session: invitations.check(session, name, code))
    password_hash = hash_password(password)

    def use(session: Session) -> str:
        account_id = invitations.use(session, name, code)
        people.set_password(session, account_id, password_hash)
        return sessions.begin(session, account_id, origin.browser)

    return database.write(use)


def change_password(database: Database, who: SignedIn, old: str, new: str, origin: Origin) -> None:
    """Change a password and sign the person out of all other browsers.

    Raises:
        TooManyAttempts: there were too many attempts.
        WrongPassword: the old password is wrong.
        InvalidParameter: the new password is not acceptable.
    """
    account = check_password(database, who.person.name, old, origin)
    password_hash = hash_password(new)
    database.write(lambda session: people.set_password(session, account.id, password_hash, who.session_id))


def check_password(database: Database, name: str, password: str, origin: Origin) -> Account:
    """The account with that name and password; asked again before a change that an unattended browser must not make.

    Raises:
        TooManyAttempts: there were too many attempts.
        TooManyPasswords: too many passwords are checked at the moment.
        WrongPassword: no enabled account has that name and password.
    """
    account = database.read(lambda session: people.find(session, name))
    device = devices.known_device(account, origin.mark)
    database.write(lambda session: throttle.count_attempt(session, name, origin.address, device))
    right = is_password(password, account.password_hash if account else None, waits=device is not None)
    if account is None or account.disabled_at or not right:
        raise WrongPassword("the name or the password is wrong")
    database.write(lambda session: throttle.forget_attempts(session, name, origin.address, device))
    return account
