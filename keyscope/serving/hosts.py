"""Protection by address alone, for servers that ask nobody who they are.

Such a server listens on this machine only. Even so, a web site could reach it through a visitor's browser by pointing
a name of its own at this machine (DNS rebinding), so it has to be addressed by a name it knows.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from keyscope.contract.errors import KeyscopeError


class UntrustedHost(KeyscopeError, status=421):
    """The request is for a host name that this server does not trust."""


class OpenToOthers(KeyscopeError):
    """Other machines could reach a server on which everybody may do everything."""


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(header: str, trusted: Collection[str], advice: str) -> None:
    """Check the `Host` of a request: localhost, a plain address, or one of the trusted names in lower case.

    Raises:
        UntrustedHost: it is another name; the message ends with `advice`.
    """
    host = _host(header)
    if not (host == "localhost" or host in trusted or _is_address(host)):
        raise UntrustedHost(f"{host!r} is not a trusted name of this server: open it as localhost, or {advice}")


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
