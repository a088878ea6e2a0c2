"""Progress of long work, reported to a terminal, a log or nobody."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]


class Progress(Protocol):
    """A listener for the stages of long work."""

    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> AbstractContextManager[Advance]:
        """Open a stage of `total` units, or None if unknown; call the `Advance` it yields with the units just done.

        `before` units of them were done by an earlier attempt.

        A shared model belongs to this work for the whole stage, except during each call of `Advance`: others may use the
        model then, or stop the work with an exception.
        """
        ...

    def note(self, text: str) -> None:
        """Report one sentence worth keeping."""
        ...


class Silent:
    """Ignores everything."""

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        yield lambda _done: None

    def note(self, text: str) -> None:
        """Ignore the sentence."""


class Pace:
    """Progress and rate of a stage."""

    def __init__(self, total: float | None, before: float = 0.0) -> None:
        self.total = total
        self.done = self._before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float | None:
        """Units per second so far, without those done before."""
        done = self.done - self._before
        return done / self.seconds if done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at this rate."""
        return max(0.0, self.total - self.done) / self.rate if self.total is not None and self.rate else None
