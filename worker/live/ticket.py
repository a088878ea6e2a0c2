"""A request's place in the queue, and the channel from the engine's thread to the request's coroutine."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from keyscope.contract.errors import KeyscopeError

E = TypeVar("E")
Work = Callable[[Callable[[E], None]], E]
"""A function that emits events by calling its argument, and returns the last one."""


class Cancelled(Exception):
    """Raised inside work whose client has gone."""


class Ticket(Generic[E]):
    """A request's place in the queue, then a stream of its events; emitted in one thread, awaited in another."""

    def __init__(self, work: Work[E], size: int) -> None:
        self.work = work
        self.context = contextvars.copy_context()
        """What the work logs bears the id of the request."""
        self.size = size
        self.emitted = 0
        self.submitted = time.monotonic()
        self.gone = threading.Event()
        self.started = asyncio.Event()
        self._events: asyncio.Queue[E | KeyscopeError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def emit(self, event: E) -> None:
        """Send an event to the request; called by the work.

        Raises:
            Cancelled: the client has gone.
        """
        if self.gone.is_set():
            raise Cancelled
        self.emitted += 1
        self._tell(event)

    def start(self) -> None:
        """Wake `Engine.turn`: the work begins, or it has failed before its turn."""
        self._call(self.started.set)

    def finish(self, last: E | KeyscopeError | None) -> None:
        """Send the last event, or the error that ended the work."""
        if last is not None:
            self._tell(last)
        self._tell(None)
        self.start()

    async def __aiter__(self) -> AsyncIterator[E]:
        """Yield the events; raise the error that ended the work."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, KeyscopeError):
                raise event
            yield event

    def _tell(self, message: E | KeyscopeError | None) -> None:
        self._call(self._events.put_nowait, message)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed, so the client has gone too
            self.gone.set()
