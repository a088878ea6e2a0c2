"""How long work tells how far it is, whoever listens: a terminal, a log or nobody."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]


class Progress(Protocol):
    """A listener for the stages of long work."""

    def stage(self, name: str, total: float | None, unit: str) -> AbstractContextManager[Advance]:
        """Open a stage of `total` units (None where nobody knows); call what it gives with the units just done."""
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
