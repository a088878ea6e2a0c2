"""Event streams that release what they are read from, and say so if the server ends before them."""

from contextlib import AsyncExitStack

import anyio
from anyio import get_cancelled_exc_class
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keyscope.contract.wire import ErrorAnswer

EVENT_STREAM = "text/event-stream"


STOPPING = ErrorAnswer(error="server_stopping", detail="the server is restarting: try again in a moment")


def error_event(error: ErrorAnswer) -> bytes:
    """An `error` event."""
    return f"event: error\ndata: {error.model_dump_json()}\n\n".encode()


class Closing(Response):
    """Mixin for a streaming response: closes `source` when the response ends, is cancelled or fails.

    A client that leaves ends the response without cancelling it from outside. Only a server that ends does that, when the
    stream has had its time; then the client is told by an `error` event.
    """

    source: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        except get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await send({"type": "http.response.body", "body": error_event(STOPPING)})
            raise
        finally:
            # a client that disconnects cancels this task; closing still has to reach the other end
            with anyio.CancelScope(shield=True):
                await self.source.aclose()
