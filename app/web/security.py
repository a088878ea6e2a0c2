"""Protection against hostile text and other sites: response headers, and a check before every change.

The middleware is plain ASGI, so streams pass through chunk by chunk.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from keyscope.app.web.where_from import host_of
from keyscope.contract.errors import KeyscopeError

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
MAX_BODY_BYTES = 8 * 2**20
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)


def local_path(scope: Scope) -> str:
    """The path of a request without the prefix that `PathPrefix` made it begin with."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_under(path: str, places: tuple[str, ...]) -> bool:
    """Whether a path is one of some places, or below one."""
    return any(path == place or path.startswith(place + "/") for place in places)


class CrossSiteRequest(KeyscopeError, status=403):
    """A page of another site tried to change something."""


class SecurityHeaders:
    """Puts `HEADERS` on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, adding the headers to the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class PathPrefix:
    """Makes every address begin with the path under which a reverse proxy publishes the server.

    The prefix is a setting, or the header `X-Forwarded-Prefix` of a trusted proxy. Proxies that strip it from the path
    and proxies that leave it there both work.
    """

    def __init__(self, app: ASGIApp, prefix: str, trusted_hosts: list[str]) -> None:
        self.app = app
        self.prefix = prefix.rstrip("/")
        # Parsed as uvicorn parses them for other proxy headers: addresses, networks or an asterisk.
        self.trusted_hosts = ProxyHeadersMiddleware(app, trusted_hosts).trusted_hosts  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path and root path as ASGI wants them: the path holds the root path."""
        prefix = self._prefix(scope) if scope["type"] == "http" else ""
        if prefix:
            path = scope["path"]
            below = path == prefix or path.startswith(prefix + "/")
            scope = {**scope, "root_path": prefix, "path": path if below else prefix + path}
        await self.app(scope, receive, send)

    def _prefix(self, scope: Scope) -> str:
        client = scope.get("client")
        if client is not None and client[0] in self.trusted_hosts:
            forwarded = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            if forwarded and _PREFIX.fullmatch(forwarded):
                return forwarded
        return self.prefix


async def refuse_cross_site(request: Request) -> None:
    """Refuse changes sent by a page of another site.

    Browsers name the page's site in `Sec-Fetch-Site`, older ones in `Origin`; programs send neither.

    Raises:
        CrossSiteRequest: a page of another site sent a request that changes something.
    """
    if request.method not in SAFE_METHODS and from_other_site(request):
        site = request.headers.get("origin") or request.headers.get("sec-fetch-site")
        raise CrossSiteRequest(
            f"{request.method} {request.url.path} came from another site ({site}): use Keyscope's own pages, "
            "or a program that sends no Origin"
        )


def from_other_site(request: Request) -> bool:
    """Whether a page of another site sent the request."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and host_of(origin) != request.headers.get("host")
