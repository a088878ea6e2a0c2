"""The queue of requests and the one thread that serves them, in order of arrival.

Work is a function called in that thread; its events reach the request's coroutine through a ticket. While no request
waits, the model can be lent to another thread, which returns it when one arrives.
"""

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.live.errors import DeviceFailed, OutOfMemory, QueueFull, QueueTimeout, WorkerStopping
from keyscope.worker.live.failures import release_memory, understand
from keyscope.worker.live.metrics import Metrics
from keyscope.worker.live.ticket import Cancelled, E, Ticket, Work

EXIT_DEVICE_FAILED = 70
_SECONDS_TO_ANSWER = 0.5
_SECONDS_TO_END = 2.0


class Engine:
    """The queue and its thread.

    Args:
        queue: how many requests may wait while one runs.
        queue_timeout: how long a request may wait for its turn, in seconds.
        metrics: where requests are counted.
        exit_process: called with an exit status when only a new process can continue.
    """

    def __init__(
        self, queue: int, queue_timeout: float, metrics: Metrics, exit_process: Callable[[int], object] = os._exit
    ) -> None:
        self._queue = queue
        self._queue_timeout = queue_timeout
        self._metrics = metrics
        self._exit_process = exit_process
        self._waiting: deque[Ticket[Any]] = deque()
        self._running: Ticket[Any] | None = None
        self._running_since = 0.0
        self._seconds_per_event: float | None = None
        self._lent = False
        self._stopping = False
        self._changed = threading.Condition()  # its lock may be taken again by its holder
        self._thread = threading.Thread(target=self._run, name="keyscope-engine", daemon=True)
        metrics.waiting.set_function(lambda: self.waiting)
        metrics.running.set_function(lambda: self.running)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Cancel running and waiting requests, and end the thread."""
        self._stop()
        self._thread.join(_SECONDS_TO_END)

    @property
    def waiting(self) -> int:
        """Requests waiting for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> bool:
        """Whether a request is being served."""
        return self._running is not None

    @property
    def alive(self) -> bool:
        """Whether requests are accepted."""
        return self._thread.is_alive() and not self._stopping

    @property
    def events_per_second(self) -> float | None:
        """Rate of the last work that finished."""
        return None if self._seconds_per_event is None else 1 / self._seconds_per_event

    def submit(self, work: Work[E], size: int) -> Ticket[E]:
        """Queue work that emits about `size` events.

        Raises:
            QueueFull: the queue is full.
            WorkerStopping: the engine is closing.
        """
        ticket = Ticket(work, size)
        with self._changed:
            if self._stopping:
                raise _stopping()
            if len(self._ahead()) > self._queue:
                seconds = self._seconds_of([self._running] if self._running else [])
                raise QueueFull(
                    f"{len(self._waiting)} requests are waiting and the queue holds {self._queue}: "
                    f"try again in about {seconds} s",
                    seconds,
                )
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def cancel(self, ticket: Ticket[Any]) -> None:
        """Drop a ticket from the queue, or end its work at the next event."""
        ticket.gone.set()
        if self._withdraw(ticket):
            self._metrics.ended("cancelled")

    @contextmanager
    def lend(self, wanted: Callable[[], bool]) -> Iterator[Callable[[], None]]:
        """Lend the model to the calling thread, once no request needs it.

        Yields a function that the borrower must call between forward passes, without hooks in place; it returns at once,
        or when the requests that wait have been served. `wanted` tells whether the borrower still needs the model; it is
        checked at the start, at every such call and after `wake`.

        Raises:
            Cancelled: the model is no longer wanted, or the engine is closing.
        """
        self._borrow(wanted)
        try:
            yield lambda: self._give_way(wanted)
        finally:
            self._give_back()

    def wake(self) -> None:
        """Make a waiting borrower check again whether it still wants the model."""
        with self._changed:
            self._changed.notify_all()

    def device_failed(self) -> None:
        """Tell all waiting requests, then end the process: only a new one can use the device again."""
        self._stop()
        time.sleep(_SECONDS_TO_ANSWER)
        self._exit_process(EXIT_DEVICE_FAILED)

    async def turn(self, ticket: Ticket[Any]) -> None:
        """Wait until the ticket's work begins.

        Raises:
            QueueTimeout: it did not begin in time; the ticket has left the queue.
        """
        try:
            async with asyncio.timeout(self._queue_timeout):
                await ticket.started.wait()
        except TimeoutError:
            if self._withdraw(ticket):
                self._metrics.ended(QueueTimeout.code)
                waited = time.monotonic() - ticket.submitted
                seconds = self._seconds_of(self._ahead())
                raise QueueTimeout(
                    f"the request waited {waited:.1f} s for its turn, the limit is {self._queue_timeout:g} s: "
                    f"try again in about {seconds} s",
                    seconds,
                ) from None

    def _withdraw(self, ticket: Ticket[Any]) -> bool:
        with self._changed:
            if ticket not in self._waiting:
                return False
            self._waiting.remove(ticket)
            self._changed.notify_all()
            return True

    def _run(self) -> None:
        while (ticket := self._next()) is not None:
            failure = self._serve(ticket)
            if isinstance(failure, OutOfMemory):
                release_memory()
            if isinstance(failure, DeviceFailed):
                self.device_failed()

    def _borrow(self, wanted: Callable[[], bool]) -> None:
        def settled() -> bool:
            return self._stopping or not wanted() or not (self._waiting or self._running)

        with self._changed:
            self._changed.wait_for(settled)
            if self._stopping or not wanted():
                raise Cancelled
            self._lent = True

    def _give_back(self) -> None:
        with self._changed:
            self._lent = False
            self._changed.notify_all()

    def _give_way(self, wanted: Callable[[], bool]) -> None:
        if self._stopping or not wanted():
            raise Cancelled
        if self._waiting:
            self._give_back()
            self._borrow(wanted)

    def _next(self) -> Ticket[Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or (self._waiting and not self._lent))
            if self._stopping:
                return None
            self._running = self._waiting.popleft()
            self._running_since = time.monotonic()
            return self._running

    def _serve(self, ticket: Ticket[Any]) -> KeyscopeError | None:
        """Do a ticket's work and finish it; returns why it failed."""
        self._metrics.queue_seconds.observe(time.monotonic() - ticket.submitted)
        ticket.start()
        failure: KeyscopeError | None = None
        last, outcome = None, "done"
        try:
            last = ticket.context.run(ticket.work, ticket.emit)
        except Cancelled:
            outcome = "cancelled"
            failure = _stopping() if self._stopping else None
        except Exception as error:
            failure = ticket.context.run(understand, error, self._seconds_of(self._ahead()))
            outcome = failure.code
        self._record(ticket, outcome)
        with self._changed:
            self._running = None
            self._changed.notify_all()
        ticket.finish(failure or last)
        return failure

    def _record(self, ticket: Ticket[Any], outcome: str) -> None:
        seconds = time.monotonic() - self._running_since
        if ticket.emitted:
            self._seconds_per_event = seconds / ticket.emitted
        self._metrics.work_seconds.observe(seconds)
        self._metrics.tokens.inc(ticket.emitted)
        self._metrics.ended(outcome)

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            for ticket in self._waiting:
                ticket.finish(_stopping())
            self._waiting.clear()
            if self._running is not None:
                self._running.gone.set()
            self._changed.notify_all()

    def _ahead(self) -> list[Ticket[Any]]:
        with self._changed:
            return [*([self._running] if self._running else []), *self._waiting]

    def _seconds_of(self, tickets: Iterable[Ticket[Any]]) -> int:
        """Whole seconds, at least 1, until these are done if each emits as many events as it may."""
        pace = self._seconds_per_event
        if pace is None:
            running = self._running
            elapsed = time.monotonic() - self._running_since
            pace = elapsed / max(1, running.emitted) if running else 0.0
        return max(1, math.ceil(pace * sum(max(0, ticket.size - ticket.emitted) for ticket in tickets)))


def _stopping() -> WorkerStopping:
    return WorkerStopping("the worker is shutting down: try again when it is back", retry_after=5)
