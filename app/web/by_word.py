"""Admission where nobody signs in: everyone may do everything, under the name they give."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from keyscope.app.accounts.identity import NAME_HEADER, Person
from keyscope.app.accounts.names import person_name
from keyscope.app.errors import InvalidParameter
from keyscope.app.roles import Role
from keyscope.contract.errors import KeyscopeError

COOKIE = "keyscope-person"
"""Cookie with the display name, percent-encoded."""
COOKIE_SECONDS = 365 * 24 * 3600


class UntrustedHost(KeyscopeError):
    """A request for a name this server does not go by."""

    code = "untrusted_host"
    status = 421


class AdmitByWord:
    """Says who sends a request, by their own word.

    Nothing but the address keeps strangers out, so a site must not get in by pointing a name of its own at that
    address: names other than the machine's own have to be known.
    """

    def __init__(self, app: ASGIApp, trusted_hosts: Iterable[str]) -> None:
        self.app = app
        self.trusted_hosts = frozenset(host.lower() for host in trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the visitor in its state.

        Raises:
            UntrustedHost: it is for a name this server does not go by.
            InvalidParameter: the name in the header cannot be one.
        """
        if scope["type"] == "http":
            request = Request(scope)
            self._check_host(request.headers.get("host", ""))
            request.state.visitor = by_word(request)
        await self.app(scope, receive, send)

    def _check_host(self, header: str) -> None:
        host = _host(header)
        if not (host == "localhost" or host in self.trusted_hosts or _is_address(host)):
            raise UntrustedHost(
                f"this server is not known as {host!r}: open it as localhost, or put the name into KEYSCOPE_TRUSTED_HOSTS"
            )


def by_word(request: Request) -> Person | None:
    """The person by the header or the cookie; None where they have not said.

    Raises:
        InvalidParameter: the name in the header cannot be one.
    """
    header = request.headers.get(NAME_HEADER)
    if header is not None:
        return Person(person_name(_utf8(header)), Role.ADMIN)
    try:
        return Person(person_name(unquote(request.cookies.get(COOKIE, ""))), Role.ADMIN)
    except InvalidParameter:
        return None


def remember(response: Response, name: str) -> None:
    """Keep the name in the browser."""
    response.set_cookie(COOKIE, quote(name), max_age=COOKIE_SECONDS, httponly=True, samesite="lax")


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


def _utf8(header: str) -> str:
    # HTTP hands header bytes over as Latin-1.
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
