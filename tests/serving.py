"""Run apps on real loopback sockets for tests, each server in its own thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from keyscope.serving.connections import BoundedConnection

START_SECONDS = 60
"""Generous, because the machine may be busy."""

STOP_SECONDS = 1
"""How long open streams may delay the end."""


@contextmanager
def serving(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve an app until the block ends; yields its URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http=BoundedConnection,
        log_level="error",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, f"the server did not start in {START_SECONDS} seconds"
        time.sleep(0.01)
    try:
        number = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{number}"
    finally:
        server.should_exit = True  # not `force_exit`, which would leave the app's databases and clients open
        thread.join(timeout=10)
