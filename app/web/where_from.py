"""Parts of addresses that browsers send of the page a request came from."""

from urllib.parse import urlsplit


def path_of(address: str) -> str:
    """Path and query of an address; empty if it is missing or malformed."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def host_of(address: str) -> str:
    """Host and port of an address; empty if it is missing or malformed."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""
