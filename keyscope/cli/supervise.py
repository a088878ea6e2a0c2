"""Runs several services as one: starts them, watches them, and stops all of them at the end."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from keyscope.contract.errors import KeyscopeError

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
LOG_LINES_SHOWN = 12


class ServiceFailed(KeyscopeError):
    """A required service exited or never became healthy."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running, and how to check that it is healthy.

    Its standard input is a pipe that closes when the supervisor ends, even if killed; the service notices by
    `stop_with_input`.
    """

    name: str
    command: Sequence[str]
    health_url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts: int | None = None
    """How often to restart it if it exits; after that the others continue without it. None: stop the others too."""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    restarts_left: int

    def failure(self, what: str) -> str:
        """A sentence on what happened, and the last lines of the log."""
        with self.service.log.open(encoding="utf-8", errors="replace") as log:
            tail = "".join(deque(log, LOG_LINES_SHOWN)).rstrip()
        return f"the {self.service.name} {what}; its log {self.service.log} ends with:\n{tail}"


def supervise(
    services: Sequence[Service],
    ready: Callable[[], None],
    note: Callable[[str], None],
    ready_seconds: float = 180.0,
) -> None:
    """Start the services, call `ready` once all are healthy, and watch them until an exception such as Ctrl-C.

    Raises:
        ServiceFailed: a service was not healthy in time, or one without restarts has exited.
    """
    with _all_running(services) as running:
        _wait_until_healthy(running, ready_seconds)
        ready()
        while running:
            time.sleep(POLL_SECONDS)
            running = [each for each in running if _is_kept(each, note)]


def stop_with_input() -> None:
    """Stop this process when its standard input ends: by SIGTERM, then after a while by force."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin: this thread would hold its lock when the interpreter shuts down
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="stop-with-input", daemon=True).start()


@contextlib.contextmanager
def _all_running(services: Sequence[Service]) -> Iterator[list[_Running]]:
    running: list[_Running] = []
    try:
        for service in services:
            service.log.parent.mkdir(parents=True, exist_ok=True)
            service.log.unlink(missing_ok=True)
            running.append(_Running(service, _start(service), service.restarts or 0))
        yield running
    finally:
        _stop([each.process for each in running])


def _start(service: Service) -> subprocess.Popen[bytes]:
    """Start a service in a new process group, so Ctrl-C in the terminal reaches only the supervisor."""
    with service.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  our own command lines
            service.command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | service.environment,
            process_group=0,
        )


def _wait_until_healthy(running: Sequence[_Running], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    waiting = list(running)
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while waiting:
            for each in waiting:
                if (code := each.process.poll()) is not None:
                    raise ServiceFailed(each.failure(f"ended with exit code {code} before it was ready"))
                if time.monotonic() > deadline:
                    raise ServiceFailed(each.failure(f"did not answer within {seconds:.0f} s"))
            waiting = [each for each in waiting if not _is_healthy(client, each.service.health_url)]
            time.sleep(POLL_SECONDS)


def _is_healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False


def _is_kept(each: _Running, note: Callable[[str], None]) -> bool:
    """Whether a service runs; restarts it if it has exited and restarts are left."""
    code = each.process.poll()
    if code is None:
        return True
    failure = each.failure(f"ended with exit code {code}")
    if each.service.restarts is None:
        raise ServiceFailed(failure)
    _stop([each.process])
    if each.restarts_left == 0:
        note(f"{failure}\nthe others continue without it")
        return False
    note(f"{failure}\nrestarting it")
    each.restarts_left -= 1
    each.process = _start(each.service)
    return True


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop the processes and everything they started: SIGTERM, wait, SIGKILL."""
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        _signal_group(process, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
