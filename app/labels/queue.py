"""The labelling queue: which key a person labels next, and that nobody else is given it meanwhile."""

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
from keyscope.contract.keys import KeyId

LOW_CONFIDENCE = 0.5
"""Labels of this confidence or less are worth another look."""
ORDERS_KEPT = 8
"""Orders of one run that are remembered."""

_KEY = (Label.layer, Label.key_index)


class Strategy(StrEnum):
    """What is labelled next."""

    SAMPLE = "sample"
    IMPACT = "impact"
    DISAGREEING = "disagreeing"
    UNSURE = "unsure"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which keys a queue goes through."""

    strategy: Strategy
    seed: int = 0
    """Of the sample: people with the same seed go through the same keys."""
    people: int = 1
    """How many people label a key of the sample, or one of high impact."""
    list_id: int | None = None
    """The saved list."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to label."""

    key: KeyId | None
    """The next key, leased to whoever asked; None where there is none."""
    left: int
    """Keys that are still to be labelled, those that others have now included."""


def next_key(database: Database, run: Run, wanted: Wanted, person: str) -> Offer:
    """The next key for a person, leased to them; a key that somebody has already is passed over.

    Raises:
        InvalidParameter: there is no list given, or it is about another model.
        UnknownList: there is no such list.
    """
    weights = run.manifest.model.weights_sha256

    def survey(session: Session) -> tuple[KeyOrder, set[KeyId]]:
        order = _order(session, run, wanted, person)
        return orders.without(order, _settled(session, weights, wanted, person)), leases.leased(session, weights)

    left, leased = database.read(survey)
    for number in orders.without(left, leased).tolist():
        key = orders.key_of(number)
        if database.write(_taking(Target(weights, key), person)):
            return Offer(key, len(left))
    return Offer(None, len(left))


def _taking(target: Target, person: str) -> Callable[[Session], datetime | None]:
    # A transaction of its own for each key: two people who want each other's would wait for each other for ever.
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
            return orders.numbered(_listed(session, weights, wanted.list_id, person))
    return orders.numbered(_keys(session, found))


def _settled(session: Session, weights: str, wanted: Wanted, person: str) -> set[KeyId]:
    """Keys that a person is not offered again: skipped today, labelled often enough, or no longer in dispute."""
    mine = func.max(case((_is(person), 1), else_=0)) == 1
    match wanted.strategy:
        case Strategy.SAMPLE | Strategy.IMPACT:
            done = _by_key(weights).having((func.count() >= wanted.people) | mine)
        case Strategy.LIST:
            done = _by_key(weights).having(mine)
        case Strategy.DISAGREEING | Strategy.UNSURE:
            # What somebody has looked at again stays where it is; it comes back another day.
            today = Label.created_at > datetime.now(UTC) - leases.SKIPPED
            done = _by_key(weights).where(_is(person), today)
    settled = {*_keys(session, done), *leases.skipped(session, weights, person)}
    if wanted.strategy is Strategy.DISAGREEING:
        settled |= {decision.key for decision in adjudication.in_force(session, weights)}
    return settled


def _by_key(weights: str) -> Select[int, int]:
    current = Label.weights_sha256 == weights, Label.superseded_at.is_(None)
    return select(*_KEY).where(*current).group_by(*_KEY)


def _is(person: str) -> ColumnElement[bool]:
    return Label.person == person


def _keys(session: Session, chosen: Select[int, int]) -> list[KeyId]:
    return [KeyId(layer, index) for layer, index in session.execute(chosen)]


def _listed(session: Session, weights: str, list_id: int | None, person: str) -> Iterable[KeyId]:
    if list_id is None:
        raise InvalidParameter("the queue goes through a list, but no list is given: choose one")
    if lists.get_list(session, list_id, person).weights_sha256 != weights:
        raise InvalidParameter(f"list {list_id} is about keys of another model: choose a run of that model")
    return lists.list_keys(session, list_id, person)


_kept: WeakKeyDictionary[Run, dict[int | None, KeyOrder]] = WeakKeyDictionary()
"""Orders by the seed of their sample; they go with the run, whose files would otherwise stay open."""
_keeping = Lock()


def _whole(run: Run, seed: int | None) -> KeyOrder:
    """All keys of a run: the sample of a seed, or without one those of most impact first."""
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
