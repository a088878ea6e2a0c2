"""Invitations: a link, good once, whose holder chooses the password of an account."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts import sessions
from app.accounts.credentials import digest, new_secret
from app.accounts.models import Account, Invitation
from app.accounts.passwords import hash_password
from app.accounts.people import folded
from contract.errors import KeyscopeError

LASTS = timedelta(days=7)


class InvalidInvitation(KeyscopeError):
    """An invitation that was used, has expired, was replaced, or never was."""

    code = "invalid_invitation"
    status = 403


def invite(session: Session, account: Account) -> str:
    """A code for an account, which is nowhere else; the account's earlier one no longer holds."""
    code = new_secret()
    session.execute(delete(Invitation).where(Invitation.account_id == account.id))
    session.add(Invitation(account_id=account.id, code_sha256=digest(code), expires_at=datetime.now(UTC) + LASTS))
    session.flush()
    return code


def accept(session: Session, name: str, code: str, password: str) -> Account:
    """Choose the password of the account the code is for; whoever was signed in there no longer is.

    Raises:
        InvalidInvitation: the code does not hold, or is for another name.
        InvalidParameter: the password cannot be one; the code still holds then.
    """
    now = datetime.now(UTC)
    # Deleted first, so that of two who send the same code at the same moment only one gets on.
    chosen = (
        delete(Invitation)
        .where(Invitation.code_sha256 == digest(code.strip()), Invitation.expires_at > now)
        .returning(Invitation.account_id)
    )
    account_id = session.scalar(chosen)
    account = session.scalar(select(Account).where(Account.id == account_id))
    if account is None or account.disabled_at or account.folded_name != folded(name):
        raise InvalidInvitation("this invitation was used, has expired, or is for somebody else: ask for a new one")
    account.password_hash = hash_password(password)
    sessions.end_all(session, account.id)
    return account


def link(base: str, name: str, code: str) -> str:
    """The address to send to the person. The code is behind a #, which no browser sends, so no server logs it."""
    from urllib.parse import quote

    return f"{base}?name={quote(name)}#{code}"
