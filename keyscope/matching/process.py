"""The parent's side: starts a child when it is needed, asks it, and kills it when it takes too long or nobody waits."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from keyscope.contract.errors import KeyscopeError
from keyscope.matching.child import OUT_OF_MEMORY

_PAUSE_EVERY = 0.1
"""Seconds between two calls of `pause`."""
_SECONDS_TO_END = 5.0


class PatternTooSlow(KeyscopeError, status=422):
    """A pattern was not matched within the time it may take."""


class PatternTooLarge(KeyscopeError, status=422):
    """A pattern needs more memory than it may take."""


class Child:
    """A process that answers requests one after another; one thread at a time may use it.

    It starts at the first request and again after it was killed, so a new one costs nothing.

    Args:
        module: the module whose `answers` the child calls.
        memory: bytes of address space it may take.
    """

    def __init__(self, module: str, memory: int) -> None:
        self._module = module
        self._memory = memory
        self._running: tuple[subprocess.Popen[bytes], Connection[Any, Any]] | None = None

    def answers(
        self, request: Any, names: Sequence[str], seconds: float, pause: Callable[[], None]
    ) -> Generator[Any, None, None]:
        """The child's answers to a request, each as soon as it is there.

        Leaving before the last one kills the child: it may be in the middle of something long.

        Args:
            request: what `answers` of the module gets.
            names: what each answer is about, for sentences about failures; as many as there will be answers.
            seconds: how long each answer may take.
            pause: called about ten times a second while waiting; what it raises ends the waiting.

        Raises:
            PatternTooSlow: an answer took longer.
            PatternTooLarge: the child ran out of memory.
            KeyscopeError: the module raised it.
        """
        whole = False
        name = ""
        try:
            pipe = self._ready()
            pipe.send((seconds, request))
            for name in names:
                answer = _received(pipe, name, seconds, pause)
                if isinstance(answer, KeyscopeError):
                    whole = True
                    raise answer
                yield answer
            whole = True
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise self._died(name, seconds) from None
        finally:
            if not whole:
                self.close()

    def close(self) -> None:
        """Kill the child."""
        if self._running is not None:
            process, pipe = self._running
            self._running = None
            pipe.close()
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> "Connection[Any, Any]":
        """The pipe to the child, which may have to be started."""
        if self._running is not None and self._running[0].poll() is not None:
            self.close()
        if self._running is None:
            self._running = self._start()
        return self._running[1]

    def _start(self) -> tuple[subprocess.Popen[bytes], "Connection[Any, Any]"]:
        ours, theirs = Pipe()
        with theirs:
            descriptor = theirs.fileno()
            # -P: a folder of the user's must not take the place of ours; our own path is given instead
            command = [sys.executable, "-P", "-m", "keyscope.matching.child", str(descriptor), self._module]
            path = os.pathsep.join(each or os.getcwd() for each in sys.path)
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, str(self._memory)],
                pass_fds=[descriptor],
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return process, ours

    def _died(self, name: str, seconds: float) -> Exception:
        """What the child's end means."""
        assert self._running is not None
        process, _ = self._running
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)
        status = process.returncode
        if status == -signal.SIGALRM:
            return _too_slow(name, seconds)
        if status == OUT_OF_MEMORY or (status is not None and status < 0):  # C libraries abort without memory
            return PatternTooLarge(
                f"{name} needs more than {self._memory >> 20:,} MB to match: use fewer repetitions and alternatives"
            )
        return RuntimeError(f"the child that matches patterns ended with status {status}")


def _received(pipe: "Connection[Any, Any]", name: str, seconds: float, pause: Callable[[], None]) -> Any:
    deadline = time.monotonic() + seconds
    while not pipe.poll(max(0.0, min(_PAUSE_EVERY, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            raise _too_slow(name, seconds)
        pause()
    return pipe.recv()


def _too_slow(name: str, seconds: float) -> PatternTooSlow:
    return PatternTooSlow(
        f"{name} took longer than {seconds:g} s: use fewer repetitions, and name more of what you seek"
    )
