"""The labelling queue: which key a person labels next, leased so that nobody else is offered it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.orm import Session

from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.labels import adjudication, leases, lists
from keyscope.app.labels.models import Label
from keyscope.app.labels.repository import Target
from keyscope.app.queries import orders
from keyscope.app.queries.orders import KeyOrder
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId, Stack

LOW_CONFIDENCE = 0.5
"""Labels with at most this confidence are reviewed."""
PEOPLE = 2
"""How many people label each key: with one, no two would ever be compared."""
CALIBRATION = 30
"""How many keys of a sample everybody labels first."""
MOST_CALIBRATION = 1000
"""The largest calibration set."""
ORDERS_KEPT = 8
"""Orders cached per run."""

_KEY = (Label.layer, Label.key_index, Label.stack)


class Strategy(StrEnum):
    """Which keys to label, and in which order."""

    SAMPLE = "sample"
    IMPACT = "impact"
    DISAGREEING = "disagreeing"
    UNSURE = "unsure"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Wanted:
    strategy: Strategy
    seed: int = 0
    """Seed of the sample; people with the same seed label the same keys."""
    people: int = PEOPLE
    """How many people label each key of the strategies sample and impact."""
    calibration: int = CALIBRATION
    """How many keys at the beginning of the sample are offered to everybody, whatever `people` says."""
    list_id: int | None = None
    """The list, for the strategy list."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The next key, and how much is left."""

    key: KeyId | None
    """The next key, leased to the person; None if nothing is available now."""
    left: int
    """Keys still to label, including those leased to others."""


def next_key(database: Database, run: Run, wanted: Wanted, person: str) -> Offer:
    """Lease the next key to a person, passing over keys leased to others.

    Raises:
        InvalidParameter: no list is given, or it belongs to another model.
        UnknownList: there is no such list.
    """
    weights = run.manifest.model.weights_sha256
    left, leased = database.read(
        lambda session: (keys_left(session, run, wanted, person), leases.leased(session, weights))
    )
    for number in orders.without(left, leased).tolist():
        key = orders.key_of(number)
        if database.write(_taking(Target(weights, key), person)):
            return Offer(key, len(left))
    return Offer(None, len(left))


def keys_left(session: Session, run: Run, wanted: Wanted, person: str) -> KeyOrder:
    """The keys that a person may still be offered, in order; those leased to others are among them.

    Raises:
        InvalidParameter, UnknownList: as for `next_key`.
    """
    order = _order(session, run, wanted, person)
    return orders.without(order, _settled(session, run.manifest.model.weights_sha256, wanted, person, order))


def _taking(target: Target, person: str) -> Callable[[Session], datetime | None]:
    # One transaction per key: holding several leases at once could deadlock two people who want the same keys.
    return lambda session: leases.take(session, target, person)


def _order(session: Session, run: Run, wanted: Wanted, person: str) -> KeyOrder:
    weights = run.manifest.model.weights_sha256
    match wanted.strategy:
        case Strategy.SAMPLE:
            return _whole(run, wanted.seed)
        case Strategy.IMPACT:
            return _whole(run, None)
        case Strategy.DISAGREEING:
            kinds = func.count(Label.kind.distinct())
            found = _by_key(weights).having(kinds > 1).order_by(kinds.desc(), func.count().desc(), *_KEY)
        case Strategy.UNSURE:
            lowest = func.min(Label.confidence)
            found = _by_key(weights).having(lowest <= LOW_CONFIDENCE).order_by(lowest, *_KEY)
        case Strategy.LIST:
            keys = _listed(session, weights, wanted.list_id, person)
            return orders.numbered(key for key in keys if key.stack == run.manifest.model.stack)
    found = found.where(Label.stack == run.manifest.model.stack)
    return orders.numbered(_keys(session, found))


def _settled(session: Session, weights: str, wanted: Wanted, person: str, order: KeyOrder) -> set[KeyId]:
    """Keys not to offer this person: skipped today, labelled often enough, or no longer disputed."""
    mine = func.max(case((_is(person), 1), else_=0)) == 1
    match wanted.strategy:
        case Strategy.SAMPLE | Strategy.IMPACT | Strategy.LIST:
            done = _by_key(weights).having(mine)
        case Strategy.DISAGREEING | Strategy.UNSURE:
            # A key the person has reviewed today does not come back before tomorrow.
            today = Label.created_at > datetime.now(UTC) - leases.SKIPPED
            done = _by_key(weights).where(_is(person), today)
    settled = {*_keys(session, done), *leases.skipped(session, weights, person)}
    if wanted.strategy in (Strategy.SAMPLE, Strategy.IMPACT):
        often_enough = set(_keys(session, _by_key(weights).having(func.count() >= wanted.people)))
        for_everybody = wanted.calibration if wanted.strategy is Strategy.SAMPLE else 0
        settled |= often_enough - {orders.key_of(number) for number in order[:for_everybody].tolist()}
    if wanted.strategy is Strategy.DISAGREEING:
        settled |= {decision.key for decision in adjudication.in_force(session, weights)}
    return settled


def _by_key(weights: str) -> Select[int, int, Stack]:
    current = Label.weights_sha256 == weights, Label.superseded_at.is_(None)
    return select(*_KEY).where(*current).group_by(*_KEY)


def _is(person: str) -> ColumnElement[bool]:
    return Label.person == person


def _keys(session: Session, chosen: Select[int, int, Stack]) -> list[KeyId]:
    return [KeyId(*row) for row in session.execute(chosen)]


def _listed(session: Session, weights: str, list_id: int | None, person: str) -> Iterable[KeyId]:
    if list_id is None:
        raise InvalidParameter("the queue needs a list to work through: choose one")
    if lists.get_list(session, list_id, person).weights_sha256 != weights:
        raise InvalidParameter(f"list {list_id} has keys of another model: choose a run of that model")
    return lists.list_keys(session, list_id, person)


_kept: WeakKeyDictionary[Run, dict[int | None, KeyOrder]] = WeakKeyDictionary()
"""Cached orders by seed. Weak keys, because holding on to a run would keep its files open."""
_keeping = Lock()


def _whole(run: Run, seed: int | None) -> KeyOrder:
    """All keys of a run: in random order by seed, or by impact if the seed is None."""
    with _keeping:
        found = _kept.get(run, {}).get(seed)
    if found is not None:
        return found
    with run.reading() as cursor:
        order = orders.strongest(cursor) if seed is None else orders.sampled(cursor, seed)
    with _keeping:
        kept = _kept.setdefault(run, {})
        while len(kept) >= ORDERS_KEPT:
            del kept[next(iter(kept))]
        kept[seed] = order
    return order
