"""Browsers that have signed in to an account before: strangers' wrong tries must not keep its person out of them.

Such a browser holds a mark: a random device, signed with the account's password hash, which nobody outside has. So
marks need no table and no key, and a new password ends them.
"""

import hashlib
import hmac

from keyscope.app.accounts.credentials import new_secret
from keyscope.app.accounts.models import Account


def new_mark(account: Account) -> str:
    """A mark for a browser that just signed in to an account with a password."""
    device = new_secret()
    return f"{device}.{_signature(account, device)}"


def known_device(account: Account | None, mark: str) -> str | None:
    """The device of a mark if it is one of the account's, else None."""
    device, _, signature = mark.partition(".")
    if account is None or account.password_hash is None:
        return None
    genuine = hmac.compare_digest(signature.encode(), _signature(account, device).encode())
    return device if genuine else None


def _signature(account: Account, device: str) -> str:
    assert account.password_hash is not None
    return hmac.new(
        account.password_hash.encode(), f"device {account.id} {device}".encode(), hashlib.sha256
    ).hexdigest()
