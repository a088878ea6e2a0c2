"""Admission without accounts: everybody may do everything, under the name they give."""

from collections.abc import Iterable
from urllib.parse import quote, unquote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.app.accounts.identity import NAME_HEADER, Person
from keyscope.app.accounts.names import person_name
from keyscope.app.errors import InvalidParameter
from keyscope.app.roles import Role
from keyscope.serving.hosts import check_host

COOKIE = "keyscope-person"
"""Cookie with the display name, percent-encoded."""
COOKIE_SECONDS = 365 * 24 * 3600


class AdmitByWord:
    """Identifies senders by the name they give.

    Only the address keeps strangers out, so host names other than the machine's own must be listed as trusted.
    """

    def __init__(self, app: ASGIApp, trusted_hosts: Iterable[str]) -> None:
        self.app = app
        self.trusted_hosts = frozenset(host.lower() for host in trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the visitor in its state; a name that its form gives is remembered in the browser.

        Raises:
            UntrustedHost: the request is for a host name that is not trusted.
            InvalidParameter: the header's name is not valid.
        """
        if scope["type"] == "http":
            request = Request(scope)
            check_host(request.headers.get("host", ""), self.trusted_hosts, "add the name to KEYSCOPE_TRUSTED_HOSTS")
            request.state.visitor = by_word(request)
            request.state.introduced = None

        async def send_with_name(message: Message) -> None:
            if message["type"] == "http.response.start" and (person := scope["state"]["introduced"]):
                named = Response()
                remember(named, person.name)
                MutableHeaders(scope=message).append("Set-Cookie", named.headers["Set-Cookie"])
            await send(message)

        await self.app(scope, receive, send_with_name if scope["type"] == "http" else send)


def by_word(request: Request) -> Person | None:
    """The person named by the header or the cookie, None if there is no name.

    Raises:
        InvalidParameter: the header's name is not valid.
    """
    header = request.headers.get(NAME_HEADER)
    if header is not None:
        return Person(person_name(_utf8(header)), Role.ADMIN)
    try:
        return Person(person_name(unquote(request.cookies.get(COOKIE, ""))), Role.ADMIN)
    except InvalidParameter:
        return None


def remember(response: Response, name: str) -> None:
    """Store the name in the browser."""
    response.set_cookie(COOKIE, quote(name), max_age=COOKIE_SECONDS, httponly=True, samesite="lax")


def _utf8(header: str) -> str:
    # Servers decode header bytes as Latin-1.
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
