"""Whether the server may listen where it is told to, for where nobody signs in the address is the only lock."""

import ipaddress

from keyscope.app.settings import Settings
from keyscope.contract.errors import KeyscopeError


class OpenToOthers(KeyscopeError):
    """Others could reach a server on which everybody may do everything."""

    code = "open_to_others"


def check_exposure(settings: Settings) -> None:
    """Nothing, where people sign in, where nobody else gets, or where it is wanted.

    Raises:
        OpenToOthers: the server would listen on more than the loopback interface, and nobody signs in.
    """
    if settings.accounts == "none" and not settings.allow_open and not _is_loopback(settings.host):
        raise OpenToOthers(
            f"nobody signs in, and on {settings.host or 'every address'} others could reach the server: "
            "let people sign in with KEYSCOPE_ACCOUNTS=accounts (`keyscope users add` makes the first admin), "
            "or say by KEYSCOPE_ALLOW_OPEN=true that everybody who gets there may do everything"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
