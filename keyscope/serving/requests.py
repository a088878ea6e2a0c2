"""An id for every request: given by a proxy or made here, sent back, passed on to the worker, and in every line of the log."""

import logging
import re
import secrets
import time
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request at work; None outside of one."""
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")

access = logging.getLogger("keyscope.access")


def id_headers() -> dict[str, str]:
    """The header that passes the id of the request at work on to another server; empty outside of one."""
    name = REQUEST_ID.get()
    return {} if name is None else {HEADER: name}


class NameRequests:
    """Gives every request its id, and logs it when it ends; an id from outside is kept if it is short and plain."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its id in the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if _SANE.fullmatch(given) else secrets.token_hex(8)
        status, started = 500, time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        before = REQUEST_ID.set(name)
        try:
            await self.app(scope, receive, send_named)
        finally:
            _log(scope, status, time.perf_counter() - started)
            REQUEST_ID.reset(before)


def _log(scope: Scope, status: int, seconds: float) -> None:
    # without the query, which can hold people's code, or the code of a sign-in
    fields = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
    client = scope.get("client")
    access.info(
        "%s %s %d", scope["method"], scope["path"], status, extra={"fields": fields | {"client": client and client[0]}}
    )
