"""How many previews run at once: one a person, few in all, and none whose client has gone."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from keyscope.app.concepts.preview import Preview, preview
from keyscope.app.runs import Run
from keyscope.contract.concepts import Pattern
from keyscope.contract.errors import KeyscopeError
from keyscope.matching.process import Child, PatternTooLarge

AT_ONCE = 4
"""Most previews at once; each may keep one processor core busy."""
MEMORY = 256 << 20
"""Bytes a child may take."""
CHILD = "keyscope.matching.texts"


class PreviewReplaced(KeyscopeError, status=429):
    """The same person started another preview."""

    retry_after = 1


class TooManyPreviews(KeyscopeError, status=429):
    """As many previews as may run at once are running."""

    retry_after = 2


class Previews:
    """The running previews, used from one event loop; their children start when needed and stay for the next."""

    def __init__(self) -> None:
        self._idle = [Child(CHILD, MEMORY) for _ in range(AT_ONCE)]
        self._threads = ThreadPoolExecutor(AT_ONCE, "keyscope-preview")
        self._running: dict[str, threading.Event] = {}

    async def run(self, who: str, run: Run, patterns: Mapping[str, Pattern]) -> dict[str, Preview | PatternTooLarge]:
        """Try patterns on the windows of a run, by language; cancelling the call kills the child.

        Args:
            who: a person or an address. A preview of theirs that is running ends: they type on, and want the latest.
            run: the run.
            patterns: by language.

        Raises:
            PreviewReplaced: another one of theirs began.
            TooManyPreviews: try again soon.
        """
        if not self._idle:
            raise TooManyPreviews(f"{AT_ONCE} previews of patterns are running: try again in a moment")
        if who in self._running:
            self._running[who].set()
        child, stop = self._idle.pop(), threading.Event()
        self._running[who] = stop
        work = self._threads.submit(preview, run, patterns, child, partial(_go_on, stop))
        work.add_done_callback(lambda _done: self._idle.append(child))
        try:
            return await asyncio.wrap_future(work)
        finally:
            stop.set()
            if self._running.get(who) is stop:
                del self._running[who]

    def close(self) -> None:
        """End the running previews and the children."""
        for stop in self._running.values():
            stop.set()
        self._threads.shutdown()
        for child in self._idle:
            child.close()


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise PreviewReplaced("another preview of yours began: only the latest is shown")
