"""Invitations: links that let their holder choose an account's password, once."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from keyscope.app.accounts.credentials import digest, new_secret
from keyscope.app.accounts.models import Account, Invitation
from keyscope.app.accounts.names import folded
from keyscope.contract.errors import KeyscopeError

LASTS = timedelta(days=7)


class InvalidInvitation(KeyscopeError, status=403):
    """The invitation was used, has expired, was replaced, or never existed."""


def invite(session: Session, account: Account) -> str:
    """Make an invitation code for an account; an earlier one stops working. Only the digest is stored."""
    code = new_secret()
    session.execute(delete(Invitation).where(Invitation.account_id == account.id))
    session.add(Invitation(account_id=account.id, code_sha256=digest(code), expires_at=datetime.now(UTC) + LASTS))
    session.flush()
    return code


def check(session: Session, name: str, code: str) -> int:
    """The id of the account that an invitation is for.

    Raises:
        InvalidInvitation: the code is not valid, or is for another name.
    """
    chosen = select(Invitation).where(
        Invitation.code_sha256 == digest(code.strip()), Invitation.expires_at > datetime.now(UTC)
    )
    found = session.scalar(chosen)
    if found is None or found.account.disabled_at or found.account.folded_name != folded(name):
        raise InvalidInvitation("this invitation was used, has expired, or is for somebody else: ask for a new one")
    return found.account_id


def use(session: Session, name: str, code: str) -> int:
    """As `check`, and use up the code; of two people who send it at the same moment, only one succeeds."""
    used = delete(Invitation).where(Invitation.code_sha256 == digest(code.strip())).returning(Invitation.account_id)
    account_id = check(session, name, code)
    if session.scalar(used) is None:
        raise InvalidInvitation("this invitation was used a moment ago: ask for a new one")
    return account_id


def link(base: str, name: str, code: str) -> str:
    """The address to send to the person. Browsers do not send what follows a #, so no server logs the code."""
    return f"{base}?name={quote(name)}#{code}"
