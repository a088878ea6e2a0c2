"""Keep tests off the network: connections and name lookups are limited to this machine."""

import ipaddress
import sys
from typing import Any


class OutsideConnection(RuntimeError):
    """A test tried to use the network. Not an `OSError`, which the code under test might handle."""


def stay_on_this_machine() -> None:
    """Refuse every other machine for the rest of this process.

    Covers Python's own sockets, not child processes or native clients such as libpq.
    """
    sys.addaudithook(_refuse_others)


def _refuse_others(event: str, arguments: tuple[Any, ...]) -> None:
    # Every import and opened file raises an audit event too, so return early.
    if not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # the address of a Unix socket is a path
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _is_here(host):
        raise OutsideConnection(
            f"a test tried to reach {host!r}: tests may only use this machine, so serve what it needs on 127.0.0.1"
        )


def _is_here(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
