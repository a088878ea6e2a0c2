"""Work for a client, given up when the client disconnects."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from keyscope.contract.errors import KeyscopeError

T = TypeVar("T")


class ClientGone(KeyscopeError, status=499):
    """The client closed its connection; nobody reads this answer."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Await the work, or cancel it when the client disconnects first.

    The request's body must have been read: whatever else arrives is dropped while waiting for the disconnect.

    Raises:
        ClientGone: the client disconnected.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("the client disconnected before its answer was ready")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        # the work's own cleanup has run before the caller goes on
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
