"""Where a form leads back to: an address of this site and of no other."""

from urllib.parse import urlsplit

from fastapi import Request


def way_back(request: Request, wanted: str) -> str:
    """The wanted address where it is a path of this site, else the first page."""
    home = request.url_for("runs_page").path
    return wanted if _is_path(wanted) else home


def _is_path(address: str) -> bool:
    # Browsers read // and /\ as the beginning of another site, and drop tabs and line ends before they look.
    if not address.startswith("/") or address[1:2] in ("/", "\\") or not address.isprintable() or " " in address:
        return False
    parts = urlsplit(address)
    return not (parts.scheme or parts.netloc)
