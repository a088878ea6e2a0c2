"""Tests reach this machine alone: Python refuses to connect anywhere else, or to look up a name."""

import ipaddress
import sys
from typing import Any


class OutsideConnection(RuntimeError):
    """A test wanted the network; not an `OSError`, which code that copes with a lost network would swallow."""


def stay_on_this_machine() -> None:
    """Refuse other machines in this process, until it ends."""
    sys.addaudithook(_refuse_others)


def _refuse_others(event: str, arguments: tuple[Any, ...]) -> None:
    # every open file and import comes by here too, so the events that do not matter leave first
    if not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket's address is a path
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _is_here(host):
        raise OutsideConnection(f"tests reach no other machine than this one, but one wanted {host!r}")


def _is_here(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
