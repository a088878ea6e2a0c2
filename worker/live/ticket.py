"""A request's place in the queue, and the way of its events from the thread that works to the coroutine that waits."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from keyscope.contract.errors import KeyscopeError

E = TypeVar("E")
Work = Callable[[Callable[[E], None]], E]
"""Work that emits events by calling its argument, and returns the last one."""


class Cancelled(Exception):
    """Raised in the work of a request that nobody waits for any more."""


class Ticket(Generic[E]):
    """A request's place in the queue, and then the events of its work."""

    def __init__(self, work: Work[E], size: int) -> None:
        self.work = work
        self.size = size
        self.emitted = 0
        self.submitted = time.monotonic()
        self.gone = threading.Event()
        self.started = asyncio.Event()
        self._events: asyncio.Queue[E | KeyscopeError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def emit(self, event: E) -> None:
        """Hand an event on; called by the work.

        Raises:
            Cancelled: nobody waits for it.
        """
        if self.gone.is_set():
            raise Cancelled
        self.emitted += 1
        self._tell(event)

    def start(self) -> None:
        """Say that the ticket's turn has come, or that it never will."""
        self._call(self.started.set)

    def finish(self, last: E | KeyscopeError | None) -> None:
        """Hand on the last event, or the error that ended the work."""
        if last is not None:
            self._tell(last)
        self._tell(None)
        self.start()

    async def __aiter__(self) -> AsyncIterator[E]:
        """The events; an error that ended the work is raised."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, KeyscopeError):
                raise event
            yield event

    def _tell(self, message: E | KeyscopeError | None) -> None:
        self._call(self._events.put_nowait, message)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody is there to hear
            self.gone.set()
