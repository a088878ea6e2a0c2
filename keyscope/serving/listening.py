"""Runs an application as an HTTP server until a signal ends it."""

import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from keyscope.contract.errors import KeyscopeError
from keyscope.serving import connections
from keyscope.serving.connections import BoundedConnection, connection_limit, raise_descriptor_limit
from keyscope.serving.logs import Seldom, WithoutQuery
from keyscope.serving.processes import run_in_processes

SHUTDOWN_SECONDS = 5
"""How long open streams may take to end when a server stops."""
WAITING = 2048
"""Most connections that wait to be accepted."""
_YOUNG = 20_000
"""New objects from which the garbage collector looks for cycles: pages make thousands, and nearly none are in cycles."""


def listen(app: ASGIApp, host: str, port: int, processes: int = 1) -> None:
    """Serve the application; returns after the signal that ends it.

    Args:
        app: the application.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        processes: how many processes share the work.

    Raises:
        KeyscopeError: the application could not start.
    """
    raise_descriptor_limit()
    logging.getLogger("asyncio").addFilter(Seldom("socket.accept() out of system resource"))
    connections.log.addFilter(Seldom("there are more than"))
    logging.getLogger("uvicorn.access").addFilter(WithoutQuery())
    startup = _Startup(app)
    config = uvicorn.Config(
        startup,
        host=host,
        port=port,
        http=BoundedConnection,
        ws="none",
        proxy_headers=False,
        # asyncio accepts so many at once before it looks at any of them: they have to fit beside the others
        backlog=connection_limit() // 8,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    with few_collections():
        if processes == 1:
            _serve(config, startup)
        else:
            shared = [config.bind_socket()]
            run_in_processes(lambda: _serve(config, startup, shared), processes, hopeless=STARTUP_FAILURE)


def _serve(config: uvicorn.Config, startup: "_Startup", sockets: list[socket.socket] | None = None) -> None:
    server = _Server(config)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets)
    finally:
        if startup.error is not None:
            raise startup.error
    if not server.started:
        sys.exit(STARTUP_FAILURE)


@contextlib.contextmanager
def few_collections() -> Iterator[None]:
    """Walk objects seldom in search of cycles, and never what is loaded by now, which stays to the end."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Server(uvicorn.Server):
    """Lets more clients wait to be accepted than are accepted at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in (each for server in self.servers for each in server.sockets):
            with socket.fromfd(listening.fileno(), listening.family, listening.type) as same:
                same.listen(WAITING)


class _Startup:
    """Keeps an error meant for people that ends the application's startup, and its traceback out of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.error: KeyscopeError | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_briefly(message: Any) -> None:
            # Starlette sends `lifespan.startup.failed` with a traceback from inside its except block
            expected = isinstance(sys.exception(), KeyscopeError)
            await send(message | {"message": ""} if expected else message)

        try:
            await self.app(scope, receive, send_briefly if scope["type"] == "lifespan" else send)
        except KeyscopeError as error:
            if scope["type"] != "lifespan":
                raise
            self.error = error
