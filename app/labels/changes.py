"""Watch keys for new labels, decisions and comments, by polling the database, so it works across server processes.

However many pages are open, a process polls once a second in a single transaction, and only for keys that are being
viewed. The same transaction checks that the viewers still have access. Between polls no viewer holds a connection.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import CompoundSelect, Select, func, literal, select, union_all
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts import presence
from keyscope.app.accounts.presence import Presence
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.database.statements import about_keys, portions
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import Target, of_target
from keyscope.app.labels.team_models import Adjudication, Comment, CommentText
from keyscope.contract.keys import KeyId

Thing = TypeVar("Thing")
SECONDS = 1.0

log = logging.getLogger(__name__)


NOTHING = "nothing"
"""Fingerprint of a key without labels, decisions and comments."""


def states(session: Session, targets: Collection[Target]) -> dict[Target, str]:
    """A fingerprint per key that changes whenever its labels, decisions or comments do."""
    found: dict[Target, list[str]] = {target: [] for target in targets}
    for weights_sha256, keys in _portions(targets):
        rows = session.execute(_counts(partial(about_keys, weights_sha256=weights_sha256, keys=keys)))
        for name, *key, latest, number in rows:
            found[Target(weights_sha256, KeyId(*key))].append(f"{name}{latest}x{number}")
    return {target: "-".join(parts) or NOTHING for target, parts in found.items()}


def state(session: Session, target: Target) -> str:
    """The fingerprint of one key."""
    rows = session.execute(_OF_ONE, target.columns)
    return "-".join(f"{name}{latest}x{number}" for name, *_, latest, number in rows) or NOTHING


class KeyChanges:
    """The keys that are viewed in this process, their viewers, and their fingerprints at the last poll."""

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
        """How many pages are viewing a key now."""
        return self._watched.total()

    async def follow(self, target: Target, seen: str, who: Presence | None = None) -> AsyncIterator[str]:
        """Yield the key's fingerprint whenever it differs from the last one seen.

        Ends when the viewer `who` loses access; None stands for a server without accounts.
        """
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
        """Stop polling."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        """Poll for as long as anybody is viewing a key."""
        while self._watched:
            targets, present = list(self._watched), list(self._present)
            try:
                self._states, self._ended = await run_in_threadpool(self._read, targets, present)
            except DatabaseUnavailable as error:
                # Keep the last state; pages update once the database answers again.
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
    """Count a thing while the context is open; None is not counted."""
    if thing is not None:
        counter[thing] += 1
    try:
        yield
    finally:
        if thing is not None:
            counter[thing] -= 1
            if not counter[thing]:
                del counter[thing]


def _portions(targets: Iterable[Target]) -> Iterator[tuple[str, Sequence[KeyId]]]:
    """The keys of the targets, grouped by weights, no more at a time than one statement takes."""
    ordered = sorted(targets, key=lambda target: (target.weights_sha256, target.key))
    for weights_sha256, group in groupby(ordered, key=lambda target: target.weights_sha256):
        for keys in portions([target.key for target in group]):
            yield weights_sha256, keys


def _counts(narrow: Callable[[Select[Any], Any], Select[Any]]) -> CompoundSelect[Any]:
    """Name, layer, index, stack, largest number and row count of everything that was said about keys, in a fixed order.

    `narrow` limits a query on a table to rows about some keys.
    """
    # Ids only grow: a new label raises the maximum, a retracted one lowers the count.
    labels = narrow(_by_key("l", Label, Label.id), Label).where(Label.superseded_at.is_(None))
    decisions = narrow(_by_key("d", Adjudication, Adjudication.id), Adjudication)
    comments = (
        narrow(_by_key("c", Comment, CommentText.id), Comment)
        .join(CommentText, CommentText.comment_id == Comment.id)
        .where(Comment.deleted_at.is_(None))
    )
    return union_all(labels, decisions, comments).order_by("name")


def _by_key(name: str, table: Any, number: Any) -> Select[Any]:
    place = table.layer, table.key_index, table.stack
    return select(literal(name).label("name"), *place, func.max(number), func.count(number)).group_by(*place)


_OF_ONE = _counts(lambda chosen, table: chosen.where(*of_target(table)))
