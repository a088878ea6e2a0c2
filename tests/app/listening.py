"""Read event streams in the background of a test."""

import threading
import time
from collections.abc import Callable

import httpx

PATIENCE = 60
"""Seconds a test waits for what takes one or two, because the machine may be busy."""


class Listener(threading.Thread):
    """Read the events of a stream until it ends or the client is closed."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(daemon=True)
        self.url, self.events, self.opened = url, list[str](), threading.Event()
        self.status: int | None = None
        self.ended = False
        """Whether the server ended the stream cleanly."""
        self.client = httpx.Client(timeout=PATIENCE, headers={"Accept": "text/event-stream"} | (headers or {}))

    def run(self) -> None:
        try:
            with self.client.stream("GET", self.url) as answer:
                self.status = answer.status_code
                self.opened.set()
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self.events.append(line.removeprefix("data: "))
                self.ended = True
        except (httpx.HTTPError, RuntimeError):
            pass


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
