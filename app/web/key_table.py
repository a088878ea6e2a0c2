"""Tables of keys: which columns they have, how they sort, and their rows written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from keyscope.app.queries import KeyRow
from keyscope.app.queries.layers import Order
from keyscope.app.web.statistics import GROUPS, OVERVIEW, Statistic, statistic

Sorted = Literal["ascending", "descending"] | None
VIEWS = (OVERVIEW, *GROUPS)
VIEW = f"^({'|'.join(group.name for group in VIEWS)})$"
"""What an address may call a view."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of keys, with the address that sorts by it."""

    title: str
    help: str
    is_number: bool
    sorted: Sorted
    href: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several views, with its address."""

    title: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A key with its values under the columns shown."""

    key: KeyRow
    values: list[str]


@dataclass(frozen=True, slots=True)
class Pager:
    """Which rows of all a page shows, and the way to the others."""

    total: int
    n_pages: int
    first: int
    """Number of the first row shown, from 1; 0 where there is none."""
    last: int
    previous: str | None
    """Address of the page before."""
    next: str | None
    """Address of the page after."""


class Href(Protocol):
    """The address of the page with its state changed."""

    def __call__(self, **changes: object) -> str:
        """The address."""


def shown_statistics(view: str, sort: str) -> list[Statistic]:
    """The statistics of a view, the one sorted by in front where it is of another view."""
    columns = list(next(group for group in VIEWS if group.name == view).statistics)
    others = [each for group in VIEWS for each in group.statistics if each.name == sort and each not in columns]
    return [statistic(sort), *columns] if others else columns


def statistic_columns(statistics: Sequence[Statistic], sort: str, order: Order, href: Href) -> list[Column]:
    """A column for each statistic."""
    return [
        Column(each.title, each.help, each.is_number, *sorting(each.name, sort, order, href)) for each in statistics
    ]


def sorting(name: str, sort: str, order: Order, href: Href, first: Order = "desc") -> tuple[Sorted, str]:
    """How a table is sorted by a column, and the address that sorts by it: from the `first` end, then from the other."""
    other: dict[Order, Order] = {"asc": "desc", "desc": "asc"}
    if name != sort:
        return None, href(sort=name, order=first, offset=0)
    return ("ascending" if order == "asc" else "descending"), href(order=other[order], offset=0)


def pager(total: int, shown: int, offset: int, size: int, href: Href) -> Pager:
    """Which rows are shown: `shown` of them from `offset` on, of pages of `size`; from behind the last page leads back to it."""
    last_page = max(0, total - 1) // size * size
    return Pager(
        total=total,
        n_pages=last_page // size + 1,
        first=offset + 1 if shown else 0,
        last=offset + shown if shown else 0,
        previous=href(offset=min(max(0, offset - size), last_page)) if offset else None,
        next=href(offset=offset + size) if offset + size < total else None,
    )


def view_choices(view: str, href: Href) -> list[Choice]:
    """The views to choose from."""
    return [Choice(group.title, href(columns=group.name), group.name == view) for group in VIEWS]
