"""Relays a worker's event stream, and ends it with an `error` event if the worker breaks off."""

import re
from collections.abc import AsyncIterator

import httpx

from keyscope.contract.wire import ErrorAnswer
from keyscope.serving.streams import error_event

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_BROKEN_OFF = "the live worker disconnected in the middle of its answer: try again in a moment"
_LAST = re.compile(rb"^event:[ ]?(done|error)\r?$", re.MULTILINE)


async def relay_events(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield every event byte for byte as the worker wrote it; the last is always `done` or `error`.

    Only whole events are passed on, so a worker that dies in the middle of one leaves no fragment.
    """
    ended, failure = False, ErrorAnswer(error="worker_unavailable", detail=_BROKEN_OFF)
    try:
        async for event in whole_events(response.aiter_raw()):
            ended = ended or _LAST.search(event) is not None
            yield event
    except httpx.ReadTimeout:
        silent = "the live worker was silent for too long: try a shorter request"
        failure = ErrorAnswer(error="worker_timeout", detail=silent)
    except httpx.HTTPError:
        pass  # a worker that disconnects is a stream without an end
    if not ended:
        yield error_event(failure)


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split the chunks of a stream at the blank lines between events; drop an unfinished last event."""
    pending = b""
    async for chunk in chunks:
        pending += chunk
        start = 0
        for end in _END.finditer(pending):
            yield pending[start : end.end()]
            start = end.end()
        pending = pending[start:]
