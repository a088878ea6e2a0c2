"""Refuses requests beyond those the server can answer soon, rather than let everybody wait."""

import sys

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyscope.app.web.security import is_under, local_path
from keyscope.contract.errors import KeyscopeError
from keyscope.serving.streams import EVENT_STREAM

MOST_AT_ONCE = 64
"""Requests in progress. Two cores answer these within a few seconds."""
RETRY_SECONDS = 2
PAGE_THREADS = 16
"""Requests that are worked on; the others in progress wait. More would not be faster: they share one interpreter."""
QUICK_THREADS = 4
"""Threads of each kind of work that must not wait for pages."""
SWITCH_SECONDS = 0.001
"""After how long a thread gives way to another; by default five times as long."""
ALWAYS = ("/static", "/healthz", "/metrics")
"""Cheap, and needed most when the server is busy."""


class Overloaded(KeyscopeError, status=503):
    """The server has as many requests in progress as it can answer soon."""

    retry_after = RETRY_SECONDS


class ShedLoad:
    """Lets so many requests in that the last of them is still answered soon, and refuses the others.

    A request is not in progress while its body arrives, nor once its answer is an event stream: both cost next to
    nothing, and they end with their connections, whose number is bounded too.
    """

    def __init__(self, app: ASGIApp, most: int = MOST_AT_ONCE) -> None:
        self.app = app
        self.most = most
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            Overloaded: there are too many.
        """
        if scope["type"] != "http" or is_under(local_path(scope), ALWAYS):
            await self.app(scope, receive, send)
            return
        if self.in_progress >= self.most:
            raise Overloaded(
                f"the server is busy with {self.in_progress} requests: try again in {RETRY_SECONDS} seconds"
            )
        await _InProgress(self).answer(scope, receive, send)


class _InProgress:
    """One request, counted while it costs something."""

    def __init__(self, among: ShedLoad) -> None:
        self.among = among
        self.counted = False
        self.receives = True
        """Whether its body may still arrive."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            if not self.receives:
                return await receive()
            self._count(False)
            message = await receive()
            self.receives = message.get("more_body", False)
            # Who has left gets no answer: when many leave at once, they must not take the places of others.
            self._count(message["type"] == "http.request")
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                self.receives = False
                self._count(False)
            await send(message)

        self._count(True)
        try:
            await self.among.app(scope, received, sent)
        finally:
            self._count(False)

    def _count(self, counted: bool) -> None:
        self.among.in_progress += counted - self.counted
        self.counted = counted


def provide_threads() -> None:
    """Let few pages be made at once, and often give way: each thread at work delays the event loop."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = PAGE_THREADS
    sys.setswitchinterval(SWITCH_SECONDS)


def _is_stream(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith(EVENT_STREAM)
