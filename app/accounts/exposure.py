"""Refuse to listen on public addresses without accounts, where the address is the only protection."""

from keyscope.app.settings import Settings
from keyscope.serving.hosts import OpenToOthers, is_loopback


def check_exposure(settings: Settings) -> None:
    """Check that people sign in, that only this machine can connect, or that `allow_open` is set.

    Raises:
        OpenToOthers: the server would listen beyond the loopback interface without accounts.
    """
    if settings.accounts == "none" and not settings.allow_open and not is_loopback(settings.host):
        raise OpenToOthers(
            f"accounts are off, and others could reach the server on {settings.host or 'every address'}: "
            "set KEYSCOPE_ACCOUNTS=accounts so that people sign in (`keyscope users add` makes the first admin), "
            "or set KEYSCOPE_ALLOW_OPEN=true to let everybody who can connect do everything"
        )
