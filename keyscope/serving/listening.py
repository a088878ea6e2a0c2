"""Runs an application as an HTTP server until a signal ends it."""

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE

from keyscope.contract.errors import KeyscopeError
from keyscope.serving import connections
from keyscope.serving.connections import BoundedConnection, connection_limit, raise_descriptor_limit
from keyscope.serving.logs import LogFormat, Seldom, WithoutQuery, log_json
from keyscope.serving.processes import run_in_processes
from keyscope.serving.settings import SHUTDOWN_SECONDS

LAST_WORDS_SECONDS = 1.0
"""How long requests that are cut off may take to say so."""
WAITING = 2048
"""Most connections that wait to be accepted."""
_YOUNG = 20_000
"""New objects from which the garbage collector looks for cycles: pages make thousands, and nearly none are in cycles."""


def listen(
    app: ASGIApp,
    host: str,
    port: int,
    processes: int = 1,
    log_format: LogFormat = "text",
    shutdown_seconds: int = SHUTDOWN_SECONDS,
) -> None:
    """Serve the application; returns after the signal that ends it.

    At that signal no more connections are accepted, and those that wait for changes are closed. Requests in progress go
    on; what is left of them after a while is told that the server ends.

    Args:
        app: the application.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        processes: how many processes share the work.
        log_format: how to log; as JSON, the access log has the time that requests took.
        shutdown_seconds: how long requests in progress may take to end.

    Raises:
        KeyscopeError: the application could not start.
    """
    raise_descriptor_limit()
    if log_format == "json":
        log_json()
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
        timeout_graceful_shutdown=shutdown_seconds,
        log_config=None if log_format == "json" else LOGGING_CONFIG,
        access_log=log_format != "json",
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
    """Lets more clients wait to be accepted than are accepted at once, and cut-off requests say so before the end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in (each for server in self.servers for each in server.sockets):
            with socket.fromfd(listening.fileno(), listening.family, listening.type) as same:
                same.listen(WAITING)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.server_state.tasks:  # cancelled, as their time is up; uvicorn would end the process under them
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WORDS_SECONDS)


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
