"""How long work tells how far it is, whoever listens: a terminal, a log or nobody."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]


class Progress(Protocol):
    """A listener for the stages of long work."""

    def stage(self, name: str, total: float | None, unit: str) -> AbstractContextManager[Advance]:
        """Open a stage of `total` units (None where nobody knows); call what it gives with the units just done.

        Where a model is shared, it is this work's from the beginning of a stage to its end, but for each call of what
        the stage gives: others may use it then, or stop the work by an exception.
        """
        ...

    def note(self, text: str) -> None:
        """Say one sentence worth keeping."""
        ...


class Silent:
    """Listens to nothing."""

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Open a stage nobody watches."""
        yield lambda _done: None

    def note(self, text: str) -> None:
        """Drop the sentence."""


class Pace:
    """How far a stage is and how fast it goes."""

    def __init__(self, total: float | None) -> None:
        self.total = total
        self.done = 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float | None:
        """Units a second so far."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to go at this rate."""
        return max(0.0, self.total - self.done) / self.rate if self.total is not None and self.rate else None
