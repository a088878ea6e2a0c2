"""Helpers for tests of whole processes: the command, free ports, waiting, liveness and held connections."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

KEYSCOPE = [sys.executable, "-m", "keyscope"]
FEW_DESCRIPTORS = 256


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait for a condition; returns whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def answers(url: str) -> bool:
    """Whether a server answers with a 2xx status."""
    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.HTTPError:
        return False


def is_alive(pid: int) -> bool:
    """Whether a process is running; a zombie is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """The ids of a process's direct children."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended since
            found += map(int, (thread / "children").read_text().split())
    return found


def with_few_descriptors(command: Sequence[str]) -> list[str]:
    """A command whose process may open few files and connections."""
    return ["sh", "-c", f'ulimit -n {FEW_DESCRIPTORS} && exec "$@"', "sh", *command]


@contextlib.contextmanager
def held(port: int, begun: bytes) -> Iterator[None]:
    """Hold more connections than such a process can open, each with the beginning of a request."""
    with contextlib.ExitStack() as stack:
        for _ in range(FEW_DESCRIPTORS + 50):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with contextlib.suppress(OSError):
                client.sendall(begun)
        yield
