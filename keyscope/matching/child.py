"""The child's side: answers the parent's requests, within bounds of time and memory that the kernel enforces.

Run as `python -m keyscope.matching.child DESCRIPTOR MODULE BYTES`. The module's function `answers(request)` yields the
answers. It should import little: a child starts while a person waits.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from keyscope.contract.errors import KeyscopeError

OUT_OF_MEMORY = 75
"""Exit status of a child that needed more memory than it may take."""
_GRACE = 1.0
"""Seconds after which a child ends itself that should have been stopped: its parent may have died."""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    descriptor, module, memory = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides what it means
    answers = import_module(module).answers
    _bound_memory(int(memory))
    with Connection(int(descriptor)) as parent:
        try:
            while True:
                seconds, request = parent.recv()
                _answer(parent, answers, request, seconds)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except MemoryError:
            os._exit(OUT_OF_MEMORY)


def _answer(
    parent: "Connection[Any, Any]", answers: Callable[[Any], Iterator[Any]], request: Any, seconds: float
) -> None:
    """Send the answers one by one; an error meant for people takes the place of the rest."""
    try:
        found = answers(request)
        while True:
            # nothing in Python could interrupt a loop in C; the signal's default action ends the process
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
            answer = next(found)
            signal.setitimer(signal.ITIMER_REAL, 0)
            parent.send(answer)
    except StopIteration:
        pass
    except KeyscopeError as error:
        parent.send(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _bound_memory(size: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        size = min(size, most)
    with contextlib.suppress(ValueError):  # macOS knows the limit but refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (size, most))


if __name__ == "__main__":
    main()
