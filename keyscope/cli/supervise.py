"""Processes that belong together: started, watched until told to stop, and never left behind."""

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
    """A process that has to run ended by itself or never answered."""

    code = "service_failed"


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running, and how to see that it does.

    Its standard input is a pipe that closes when we end, however we end, and `stop_with_input` is for the service.
    """

    name: str
    command: Sequence[str]
    health_url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts: int | None = None
    """How often it is started again after it ended by itself; after that the others go on without it. None: the
    others are of no use without it."""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    restarts_left: int

    def failure(self, what: str) -> str:
        """What happened, with the last lines of the log."""
        with self.service.log.open(encoding="utf-8", errors="replace") as log:
            tail = "".join(deque(log, LOG_LINES_SHOWN)).rstrip()
        return f"the {self.service.name} {what}; its log {self.service.log} ends with:\n{tail}"


def supervise(
    services: Sequence[Service],
    ready: Callable[[], None],
    note: Callable[[str], None],
    ready_seconds: float = 180.0,
) -> None:
    """Start the services, call `ready` once all answer, and watch them until an exception (such as Ctrl-C) ends it.

    Raises:
        ServiceFailed: a service did not come up in time, or one that the others need has ended.
    """
    with _all_running(services) as running:
        _wait_until_healthy(running, ready_seconds)
        ready()
        while running:
            time.sleep(POLL_SECONDS)
            running = [each for each in running if _is_kept(each, note)]


def stop_with_input() -> None:
    """Stop this process once its standard input ends: first as SIGTERM does, and after a while in any case."""

    def watch() -> None:
        while os.read(0, 4096):  # not through sys.stdin, whose lock would be held when the interpreter shuts down
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
    """Start a service in a process group of its own, so that Ctrl-C in the terminal reaches only us."""
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
    """Whether a service still runs; started again here if it ended and may be."""
    code = each.process.poll()
    if code is None:
        return True
    failure = each.failure(f"ended with exit code {code}")
    if each.service.restarts is None:
        raise ServiceFailed(failure)
    _stop([each.process])
    if each.restarts_left == 0:
        note(f"{failure}\nthe others go on without it")
        return False
    note(f"{failure}\nstarting it again")
    each.restarts_left -= 1
    each.process = _start(each.service)
    return True


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the processes with everything they started: ask, wait, then force."""
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
