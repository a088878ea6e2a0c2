"""Limits on the size of request bodies, as ASGI middleware.

There are two because the servers differ: the app takes uploads and passes them on as they arrive, the worker takes only
short JSON and can read it whole, so its client always finishes writing and sees the refusal.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.contract.errors import KeyscopeError
from keyscope.serving.answers import error_response


class BodyTooLarge(KeyscopeError, status=413):
    """A request body of more bytes than the server reads."""


class CountedBody:
    """Counts the body as it is read, and raises `BodyTooLarge` once it, or its announced length, exceeds the limit."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._check(int(Headers(scope=scope).get("content-length", "0")))
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                self._check(received)
            return message

        await self.app(scope, counted, send)

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise BodyTooLarge(f"the request has {size:,} bytes or more, the limit is {self.limit:,}")


class WholeBody:
    """Reads the whole body before anything else, and answers 413 if it exceeds the limit.

    A body that is too large is read to its end but not kept: a client that is still writing would not see the answer.
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
            refusal = BodyTooLarge(f"the request has {size:,} bytes, the limit is {self.limit:,}: send less")
            await error_response(refusal)(scope, receive, send)
            return
        await self.app(scope, _replayed(bytes(body), receive), send)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first gives the body, then whatever the client does next."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
