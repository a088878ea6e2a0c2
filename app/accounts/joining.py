"""Join an identity at the OpenID provider to an account with a password, or part them; only the account's owner can.

Equal names or mail addresses never join anything: otherwise, anybody who can choose theirs at the provider could take
over an account here.
"""

import hashlib
import hmac

from sqlalchemy.orm import Session

from keyscope.app.accounts import people
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.oidc import Flow, Identity
from keyscope.contract.errors import KeyscopeError


class IdentityTaken(KeyscopeError, status=409):
    """The identity belongs to another account, or the account already has another identity."""


class LastWayIn(KeyscopeError, status=409):
    """Without the identity, nobody could sign in to the account."""


def for_joining(flow: Flow, session_secret: str) -> Flow:
    """Mark a flow as one for joining, valid in this session only."""
    return flow.model_copy(update={"joins": _proof(flow, session_secret)})


def began_in(flow: Flow, session_secret: str) -> bool:
    """Whether the flow is for joining and began in the session with that secret; it proves knowledge of the secret."""
    return hmac.compare_digest(flow.joins.encode(), _proof(flow, session_secret).encode())


def check_free(account: Account) -> None:
    """Check that the account has no identity yet.

    Raises:
        IdentityTaken: it has one.
    """
    if account.issuer is not None:
        raise IdentityTaken(
            f"{account.name} already signs in with an identity at {account.issuer}: remove that one first"
        )


def join(session: Session, account_id: int, identity: Identity) -> None:
    """Let the identity sign in to the account.

    Raises:
        IdentityTaken: the identity belongs to another account, or the account has another one.
    """
    known = people.of_identity(session, identity)
    if known is not None and known.id != account_id:
        raise IdentityTaken(
            f"this identity already signs in as {known.name}: ask an admin for an invitation for {known.name}, "
            "use it to choose a password, remove the identity there, then join it here"
        )
    if known is None:
        # If two identities are joined at the same moment, the lock lets only one through.
        people.lock(session, Account.id == account_id)
        account = people.by_id(session, account_id)
        check_free(account)
        account.issuer, account.subject = identity.issuer, identity.subject


def part(session: Session, account_id: int) -> None:
    """Remove the identity from the account; its owner can still sign in with the password.

    Raises:
        LastWayIn: the account has no password.
    """
    account = people.by_id(session, account_id)
    if account.password_hash is None:
        raise LastWayIn(
            f"{account.name} has no password, so nobody could sign in any more: ask an admin for an invitation, "
            "use it to choose a password, then remove the identity"
        )
    account.issuer = account.subject = None


def _proof(flow: Flow, session_secret: str) -> str:
    return hmac.new(session_secret.encode(), f"join {flow.state}".encode(), hashlib.sha256).hexdigest()
