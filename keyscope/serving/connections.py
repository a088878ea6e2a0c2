"""Connections of both servers: how many there may be, and how long a client may keep one waiting.

A client that sends nothing, or a byte now and then, costs a descriptor: without bounds a thousand of them would leave
everybody else unanswered.
"""

import asyncio
import logging
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_SECONDS = 20
"""How long the head of a request may take, and how often the pace of a body or of a reader is checked."""
LEAST_PACE = 1024
"""Bytes a second at which a client has to send a body, and to read an answer."""
MOST_DESCRIPTORS = 65_536
"""No more are asked for, as some libraries pay for every descriptor that a process could open."""
MOST_CONNECTIONS = 4096

log = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Let this process open as many files and connections as it may, up to `MOST_DESCRIPTORS`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_number(hard), MOST_DESCRIPTORS)
    if _number(soft) < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connection_limit() -> int:
    """How many connections there may be: half of the descriptors, as run files and databases need some too."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_number(soft) // 2, MOST_CONNECTIONS)


class BoundedConnection(H11Protocol):
    """A connection that is closed if its client is too slow, or if others need its place.

    The head of a request has to be complete in time. A body has to keep a least pace, and so does reading an answer,
    but an answer may take its time, so event streams live on. A connection too many takes the place of the one whose
    client has owed a request the longest.
    """

    _owed: Any = None
    """The state of h11 in which the client has to go on; None if it may rest."""
    _since = 0.0
    """When this state began, by the clock of the loop."""
    _received = 0
    """Bytes since the connection was made."""
    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _given_up = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, and make room if there are too many connections."""
        super().connection_made(transport)
        self._follow()
        if len(self.connections) > connection_limit():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop_receiving()
        self._stop_sending()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._received += len(data)
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Let the client rest; uvicorn closes connections on which no other request begins."""
        super().on_response_complete()
        self._follow()
        self._expect_reader()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        """Go on, as the client has read."""
        super().resume_writing()
        self._stop_sending()

    def _follow(self) -> None:
        """Start the clock for what the client owes now, unless it already runs: a slow drip must not restart it."""
        resting = self.timeout_keep_alive_task is not None
        owed = None if resting else self.conn.their_state
        if owed is self._owed:
            return
        self._owed, self._since = owed, self.loop.time()
        self._stop_receiving()
        if owed is h11.IDLE:
            self._receiving = self.loop.call_later(PATIENCE_SECONDS, self._give_up)
        elif owed is h11.SEND_BODY:
            self._expect_body()

    def _expect_body(self) -> None:
        self._receiving = self.loop.call_later(PATIENCE_SECONDS, self._check_body, self._received)

    def _check_body(self, before: int) -> None:
        # The client is not to blame if the application does not read, or has not said yet that it will.
        excused = self.flow.read_paused or self.conn.they_are_waiting_for_100_continue
        if excused or self._received - before >= LEAST_PACE * PATIENCE_SECONDS:
            self._expect_body()
        else:
            self._give_up()

    def _expect_reader(self) -> None:
        self._stop_sending()
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            self._sending = self.loop.call_later(PATIENCE_SECONDS, self._check_reader, unsent)

    def _check_reader(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and before - unsent < LEAST_PACE * PATIENCE_SECONDS:
            self._give_up()
        else:
            self._expect_reader()

    def _make_room(self) -> None:
        """Give up the connection whose client has owed a request the longest; this one owes one too."""
        log.warning("there are more than %s connections: those without a request are closed", connection_limit())
        owing = [each for each in self.connections if isinstance(each, BoundedConnection) and each._owes_request()]
        min(owing, key=lambda each: each._since)._give_up()

    def _owes_request(self) -> bool:
        return not self._given_up and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _give_up(self) -> None:
        self._given_up = True
        self.transport.abort()

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None


def _number(limit: int) -> int:
    return MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else limit
