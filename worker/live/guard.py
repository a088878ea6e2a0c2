"""What stands before every endpoint, as plain ASGI: the worker's token and the size of bodies."""

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.worker.live.answers import error_response
from keyscope.worker.live.errors import BodyTooLarge, Unauthorised


class TokenGuard:
    """Lets requests in that carry the token as `Authorization: Bearer …`, and all requests for the open paths."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Collection[str]) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode()
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in self.open_paths and not self._is_allowed(scope):
            refusal = error_response(
                Unauthorised(
                    "this worker asks for its token: send it as Authorization: Bearer …, see KEYSCOPE_WORKER_TOKEN"
                )
            )
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self.expected)


class BodyLimit:
    """Reads a body to its end before anything else, and refuses it where it is larger than the limit.

    Of a body that is too large nothing is kept, but it is read: a client that is still writing would not see the answer.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body in one piece, or answer 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, size, more = bytearray(), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= self.limit:
                body += chunk
            more = message.get("more_body", False)
        if size > self.limit:
            refusal = BodyTooLarge(f"the request has {size} bytes, this worker reads at most {self.limit}: send less")
            await error_response(refusal)(scope, receive, send)
            return
        await self.app(scope, _replayed(bytes(body), receive), send)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first gives the body, then whatever the client does next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
