"""Relays a worker's event stream, and ends it with an `error` event if the worker breaks off."""

import re
from collections.abc import AsyncIterator

import httpx

from keyscope.contract.wire import ErrorAnswer

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_BROKEN_OFF = "the live worker disconnected in the middle of its answer: try again in a moment"
_LAST = re.compile(rb"^event:[ ]?(done|error)\r?$", re.MULTILINE)


async def relay_events(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield every event byte for byte as the worker wrote it; the last is always `done` or `error`.

    Only whole events are passed on, so a worker that dies in the middle of one leaves no fragment.
    """
    ended, failure = False, error_event("worker_unavailable", _BROKEN_OFF)
    try:
        async for event in whole_events(response.aiter_raw()):
            ended = ended or _LAST.search(event) is not None
            yield event
    except httpx.ReadTimeout:
        failure = error_event("worker_timeout", "the live worker was silent for too long: try a shorter request")
    except httpx.HTTPError:
        pass  # a worker that disconnects is a stream without an end
    if not ended:
        yield failure


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


def error_event(code: str, detail: str) -> bytes:
    """An `error` event."""
    return f"event: error\ndata: {ErrorAnswer(error=code, detail=detail).model_dump_json()}\n\n".encode()
