"""Admission with accounts: identify the sender of a request and check their role before anything else is read."""

import logging
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy import update
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.app.accounts import devices, sessions, tokens
from keyscope.app.accounts.identity import NotSignedIn, Person, TokenExpired, require
from keyscope.app.accounts.models import Account, ApiToken, BrowserSession
from keyscope.app.accounts.presence import Presence
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.roles import Role
from keyscope.app.web.error_handlers import wants_json
from keyscope.app.web.overload import QUICK_THREADS
from keyscope.app.web.security import SAFE_METHODS, is_under, local_path
from keyscope.app.web.where_from import path_of

COOKIE = "keyscope-session"
DEVICE_COOKIE = "keyscope-device"
DEVICE_LASTS = timedelta(days=365)
SEEN_EVERY = timedelta(minutes=5)
"""How often the last use of a session or token is recorded; a write per request would be expensive."""

PUBLIC = ("/static", "/api/v1/workers")
"""Served without identifying the sender: files for everybody, and what workers say, who have a token of their own."""
FOR_STRANGERS = ("/sign-in", "/invitation", "/healthz")
"""Served to people who have not signed in, too."""
ONES_OWN = ("/account", "/sign-out")
"""Pages where people change their own account, whatever their role."""

log = logging.getLogger(__name__)


def least_role(method: str, path: str) -> Role:
    """The role that routes need by default: viewer to read, labeler to change anything."""
    return Role.VIEWER if method in SAFE_METHODS or is_under(path, ONES_OWN) else Role.LABELER


class AdmitSignedIn:
    """Identifies senders by session or token, and lets strangers see only what is meant for them."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self.app = app
        self.database = database
        self.threads = CapacityLimiter(QUICK_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the visitor in its state; send browsers that are not signed in to the sign-in page.

        Raises:
            NotSignedIn: a program sent no token, or one that is not valid.
            TokenExpired: the program's token has expired.
            Forbidden: the person's role does not allow the request.
            DatabaseUnavailable: the sender cannot be looked up.
        """
        if scope["type"] != "http" or is_under(path := local_path(scope), PUBLIC):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        visitor = await run_sync(_identify, self.database, request, limiter=self.threads)
        request.state.visitor = visitor
        if not is_under(path, FOR_STRANGERS):
            if visitor is None:
                await _ask_to_sign_in(request)(scope, receive, send)
                return
            require(visitor, least_role(request.method, path))
        await self.app(scope, receive, _kept_from_caches(send))


def remember(request: Request, response: Response, secret: str) -> None:
    """Set the session cookie."""
    _set_cookie(request, response, COOKIE, secret, sessions.LASTS)


def remember_device(request: Request, response: Response, account: Account) -> None:
    """Set the cookie by which the browser is known at the next sign-in, if the account has a password."""
    if account.password_hash is not None:
        _set_cookie(request, response, DEVICE_COOKIE, devices.new_mark(account), DEVICE_LASTS)


def forget(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(COOKIE, path=_cookie_path(request))


def _identify(database: Database, request: Request) -> Person | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        # Never fall back to the cookie: a program must notice that its token was revoked.
        return _by_token(database, token.strip() if scheme.lower() == "bearer" else "")
    secret = request.cookies.get(COOKIE)
    return _by_session(database, secret) if secret else None


def _by_token(database: Database, secret: str) -> Person:
    found = database.read(lambda session: tokens.find(session, secret))
    if found is None:
        raise NotSignedIn("the token is unknown or was revoked: send a valid one as `Authorization: Bearer ks_…`")
    if found.expired:
        raise TokenExpired(
            f"the token {found.name!r} expired on {found.expires_at:%Y-%m-%d}: make a new one on your account page"
        )
    if found.used_at is None or datetime.now(UTC) - found.used_at > SEEN_EVERY:
        _note_use(database, ApiToken, found.id)
    presence = Presence(found.secret_sha256, tokens.role_of(found))
    return Person(found.account.name, presence.role, found.account_id, presence=presence)


def _by_session(database: Database, secret: str) -> Person | None:
    found = database.read(lambda session: sessions.find(session, secret))
    if found is None:
        return None
    if datetime.now(UTC) - found.seen_at > SEEN_EVERY:
        _note_use(database, BrowserSession, found.id)
    presence = Presence(found.secret_sha256, found.account.role)
    return Person(found.account.name, presence.role, found.account_id, found.id, presence)


def _note_use(database: Database, kind: type[ApiToken] | type[BrowserSession], number: int) -> None:
    seen = {"used_at" if kind is ApiToken else "seen_at": datetime.now(UTC)}
    try:
        database.write(lambda session: session.execute(update(kind).where(kind.id == number).values(seen)))
    except DatabaseUnavailable as error:
        # A read-only database can still identify people.
        log.warning("%s", error)


def _ask_to_sign_in(request: Request) -> Response:
    if wants_json(request):
        raise NotSignedIn("sign in first; programs send a token as `Authorization: Bearer ks_…`")
    if "HX-Request" in request.headers:
        # htmx would follow a redirect and put the sign-in page into a fragment of this page.
        shown = path_of(request.headers.get("HX-Current-URL", ""))
        return Response(headers={"HX-Redirect": _sign_in(request, shown)})
    asked = path_of(str(request.url)) if request.method in SAFE_METHODS else ""
    return RedirectResponse(_sign_in(request, asked), status_code=303)


def _sign_in(request: Request, back: str) -> str:
    address = request.url_for("sign_in_page").path
    return f"{address}?{urlencode({'next': back})}" if back else address


def _kept_from_caches(send: Send) -> Send:
    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            if b"cache-control" not in names:
                message["headers"] = [*message["headers"], (b"cache-control", b"private, no-cache")]
        await send(message)

    return send_private


def _set_cookie(request: Request, response: Response, name: str, value: str, lasts: timedelta) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(lasts.total_seconds()),
        path=_cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"
