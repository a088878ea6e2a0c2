"""An identity at the OpenID provider joined to an account with a password, by its person and nobody else, and parted from it.

Nothing is ever joined because two names or mail addresses are the same: whoever can choose theirs at the provider could
otherwise take over an account here.
"""

import hashlib
import hmac

from sqlalchemy.orm import Session

from keyscope.app.accounts import people
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.oidc import Flow, Identity
from keyscope.contract.errors import KeyscopeError


class IdentityTaken(KeyscopeError):
    """Somebody signs in with that identity already, or the account has another one."""

    code = "identity_taken"
    status = 409


class LastWayIn(KeyscopeError):
    """Without the identity nobody could sign in to the account any more."""

    code = "last_way_in"
    status = 409


def for_joining(flow: Flow, session_secret: str) -> Flow:
    """The same flow, meant for joining and of use in no other session than this one."""
    return flow.model_copy(update={"joins": _proof(flow, session_secret)})


def began_in(flow: Flow, session_secret: str) -> bool:
    """Whether the flow began, for joining, in the session of that secret; who does not know it can make no such flow."""
    return hmac.compare_digest(flow.joins.encode(), _proof(flow, session_secret).encode())


def check_free(account: Account) -> None:
    """Nothing, where the account has no identity yet.

    Raises:
        IdentityTaken: it has one.
    """
    if account.issuer is not None:
        raise IdentityTaken(f"{account.name} signs in with an identity at {account.issuer} already: part from it first")


def join(session: Session, account_id: int, identity: Identity) -> None:
    """Let who has the identity sign in to the account.

    Raises:
        IdentityTaken: somebody signs in with it already, or the account has another one.
    """
    known = people.of_identity(session, identity)
    if known is not None and known.id != account_id:
        raise IdentityTaken(
            f"with this identity one signs in as {known.name} already: ask an admin for an invitation for {known.name}, "
            "choose a password by it, part from the identity there, then join it here"
        )
    if known is None:
        # Of two identities joined at the same moment only one is.
        people.lock(session, Account.id == account_id)
        account = people.by_id(session, account_id)
        check_free(account)
        account.issuer, account.subject = identity.issuer, identity.subject


def part(session: Session, account_id: int) -> None:
    """Take the identity from the account; with the password its person goes on signing in.

    Raises:
        LastWayIn: there is no password.
    """
    account = people.by_id(session, account_id)
    if account.password_hash is None:
        raise LastWayIn(
            f"{account.name} has no password, so nobody could sign in any more: ask an admin for an invitation, "
            "choose a password by it, then part from the identity"
        )
    account.issuer = account.subject = None


def _proof(flow: Flow, session_secret: str) -> str:
    return hmac.new(session_secret.encode(), f"join {flow.state}".encode(), hashlib.sha256).hexdigest()
