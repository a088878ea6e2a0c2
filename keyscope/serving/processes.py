"""Several processes that serve one address, and the parent that keeps them running."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from keyscope.contract.errors import KeyscopeError

log = logging.getLogger(__name__)


def run_in_processes(serve: Callable[[], None], number: int, hopeless: int) -> None:
    """Run `serve` in several child processes until a signal ends them all; a child that dies is replaced.

    Children are forked, so they share what was loaded before and the sockets that are already open.

    Args:
        serve: what a child does; it ends on SIGTERM.
        number: how many children.
        hopeless: exit status of a child that another one would follow with: then all end, and so does this process.
    """
    family = _Family(serve, hopeless)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, family.end)
    for _ in range(number):
        family.fork()
    status = family.keep()
    if status:
        sys.exit(status)


class _Family:
    """The child processes."""

    def __init__(self, serve: Callable[[], None], hopeless: int) -> None:
        self._serve = serve
        self._hopeless = hopeless
        self._children: set[int] = set()
        self._ending = False

    def fork(self) -> None:
        """Start a child."""
        # A signal between the fork and the next line must find the child among those to end.
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        child = os.fork()
        if child == 0:
            self._be_child(signals)
        self._children.add(child)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)

    def _be_child(self, signals: set[int | signal.Signals]) -> NoReturn:
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
            self._serve()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except KeyscopeError as error:
            log.error("%s", error)
            status = self._hopeless
        except BaseException:
            log.exception("a server process failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # not the exit of the parent, whose work this copy must not finish

    def end(self, _number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """End all children."""
        self._ending = True
        for child in self._children:
            os.kill(child, signal.SIGTERM)

    def keep(self) -> int:
        """Replace children that die, until all are to end; returns the exit status."""
        worst = 0
        while self._children:
            child, ended = os.wait()
            if child not in self._children:
                continue
            self._children.remove(child)
            status = os.waitstatus_to_exitcode(ended)
            if self._ending:
                continue
            if status == self._hopeless:
                worst = status
                self.end()
            else:
                log.warning("server process %d ended with status %d: another one takes its place", child, status)
                self.fork()
        return worst
