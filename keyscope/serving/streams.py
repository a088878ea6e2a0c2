"""Event streams that release what they are read from."""

from contextlib import AsyncExitStack

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream"


class Closing(Response):
    """Mixin for a streaming response: closes `source` when the response ends, is cancelled or fails."""

    source: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # a client that disconnects cancels this task; closing still has to reach the other end
            with anyio.CancelScope(shield=True):
                await self.source.aclose()
