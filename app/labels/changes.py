"""Whether what people say of a key has changed: asked of the database, so that it holds across server processes.

However many pages are open, a process asks once a second, in one transaction, and only about keys that somebody looks at,
and whether they still may; in between nobody who looks holds a connection.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts import presence
from keyscope.app.accounts.presence import Presence
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.database.many_keys import MOST, is_wanted, wanted_keys
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import Target
from keyscope.app.labels.team_models import Adjudication, Comment, CommentText
from keyscope.contract.keys import KeyId

Thing = TypeVar("Thing")
SECONDS = 1.0

log = logging.getLogger(__name__)


def states(session: Session, targets: Collection[Target]) -> dict[Target, str]:
    """Of each key a text that is another one as soon as labels, decisions or comments on it are."""
    found: dict[Target, list[str]] = {target: [] for target in targets}
    for weights_sha256, keys in _portions(targets):
        for statement in (_labels, _decisions, _comments):
            for layer, index, latest, number in session.execute(statement(weights_sha256, keys)):
                found[Target(weights_sha256, KeyId(layer, index))].append(f"{statement.__name__[1]}{latest}x{number}")
    return {target: "-".join(parts) or "nothing" for target, parts in found.items()}


def state(session: Session, target: Target) -> str:
    """The state of one key."""
    return states(session, [target])[target]


class KeyChanges:
    """The keys that are looked at in this process, by whom, and their states as last asked for."""

    def __init__(self, database: Database, seconds: float = SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._watched: Counter[Target] = Counter()
        self._present: Counter[Presence] = Counter()
        self._states: dict[Target, str] = {}
        self._ended: set[Presence] = set()
        self._asked = asyncio.Condition()
        self._asking: asyncio.Task[None] | None = None

    @property
    def watched(self) -> int:
        """How many look at a key now."""
        return self._watched.total()

    async def follow(self, target: Target, seen: str, who: Presence | None = None) -> AsyncIterator[str]:
        """The key's state each time that it is another one than was seen, until whoever looks leaves or may no longer."""
        with _counted_in(self._watched, target), _counted_in(self._present, who):
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            while True:
                async with self._asked:
                    await self._asked.wait()
                if who in self._ended:
                    return
                now = self._states.get(target, seen)
                if now != seen:
                    seen = now
                    yield now

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        """Ask as long as anybody looks at a key."""
        while self._watched:
            targets, present = list(self._watched), list(self._present)
            try:
                self._states, self._ended = await run_in_threadpool(self._read, targets, present)
            except DatabaseUnavailable as error:
                # The pages stay as they are until it answers again.
                log.warning("changes cannot be read: %s", error)
            async with self._asked:
                self._asked.notify_all()
            await asyncio.sleep(self._seconds)

    def _read(self, targets: list[Target], present: list[Presence]) -> tuple[dict[Target, str], set[Presence]]:
        return self._database.read(
            lambda session: (states(session, targets), presence.ended(session, present) if present else set())
        )


@contextmanager
def _counted_in(counter: "Counter[Thing]", thing: Thing | None) -> Iterator[None]:
    """Have the counter count a thing one more, where there is one."""
    if thing is not None:
        counter[thing] += 1
    try:
        yield
    finally:
        if thing is not None:
            counter[thing] -= 1
            if not counter[thing]:
                del counter[thing]


def _portions(targets: Iterable[Target]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Keys of one model's weights at a time, no more than fit into a statement."""
    ordered = sorted(targets, key=lambda target: (target.weights_sha256, target.key))
    for weights_sha256, group in groupby(ordered, key=lambda target: target.weights_sha256):
        keys = [(target.key.layer, target.key.index) for target in group]
        for start in range(0, len(keys), MOST):
            yield weights_sha256, keys[start : start + MOST]


def _labels(weights_sha256: str, keys: list[tuple[int, int]]) -> Any:
    # Numbers of labels only rise, so a new label shows in the largest, and one taken back in how many there are.
    return _counted(Label, Label.id, weights_sha256, keys).where(Label.superseded_at.is_(None))


def _decisions(weights_sha256: str, keys: list[tuple[int, int]]) -> Any:
    return _counted(Adjudication, Adjudication.id, weights_sha256, keys)


def _comments(weights_sha256: str, keys: list[tuple[int, int]]) -> Any:
    counted = _counted(Comment, CommentText.id, weights_sha256, keys)
    return counted.join(CommentText, CommentText.comment_id == Comment.id).where(Comment.deleted_at.is_(None))


def _counted(table: Any, number: Any, weights_sha256: str, keys: list[tuple[int, int]]) -> Any:
    """Per key the largest number and how many there are."""
    wanted = wanted_keys(keys)
    chosen = select(*wanted.c, func.max(number), func.count(number)).group_by(*wanted.c)
    return chosen.select_from(wanted).join(table, is_wanted(table, weights_sha256, wanted))
