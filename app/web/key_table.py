"""Tables of keys: columns, sorting, rows and paging."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from keyscope.app.queries import KeyRow, Vocabulary, parse_token
from keyscope.app.queries.layers import Order
from keyscope.app.web import formats
from keyscope.app.web.statistics import GROUPS, OVERVIEW, Statistic, statistic

Sorted = Literal["ascending", "descending"] | None
SIMILAR = 8
"""Similar tokens offered."""
VIEWS = (OVERVIEW, *GROUPS)
VIEW = f"^({'|'.join(group.name for group in VIEWS)})$"
"""Pattern of a view's name in an address."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, with the address that sorts by it."""

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
    """A key with its formatted values, one per column."""

    key: KeyRow
    values: list[str]


@dataclass(frozen=True, slots=True)
class Pager:
    """The rows a page shows, and links to the other pages."""

    total: int
    n_pages: int
    first: int
    """Number of the first row, from 1; 0 on an empty page."""
    last: int
    previous: str | None
    """Address of the previous page."""
    next: str | None
    """Address of the next page."""


class Href(Protocol):
    """Returns the page's address with its state changed."""

    def __call__(self, **changes: object) -> str:
        """The address."""


def shown_statistics(view: str, sort: str) -> list[Statistic]:
    """The statistics of a view, preceded by the sort column if it belongs to another view."""
    columns = list(next(group for group in VIEWS if group.name == view).statistics)
    others = [each for group in VIEWS for each in group.statistics if each.name == sort and each not in columns]
    return [statistic(sort), *columns] if others else columns


def statistic_columns(statistics: Sequence[Statistic], sort: str, order: Order, href: Href) -> list[Column]:
    """A column for each statistic."""
    return [
        Column(each.title, each.help, each.is_number, *sorting(each.name, sort, order, href)) for each in statistics
    ]


def sorting(name: str, sort: str, order: Order, href: Href, first: Order = "desc") -> tuple[Sorted, str]:
    """A column's current sorting, and the address that sorts by it: first in the order `first`, then reversed."""
    other: dict[Order, Order] = {"asc": "desc", "desc": "asc"}
    if name != sort:
        return None, href(sort=name, order=first, offset=0)
    return ("ascending" if order == "asc" else "descending"), href(order=other[order], offset=0)


def pager(total: int, shown: int, offset: int, size: int, href: Href) -> Pager:
    """`shown` rows from `offset`, in pages of `size`; beyond the last page, `previous` leads back to it."""
    last_page = max(0, total - 1) // size * size
    return Pager(
        total=total,
        n_pages=last_page // size + 1,
        first=offset + 1 if shown else 0,
        last=offset + shown if shown else 0,
        previous=href(offset=min(max(0, offset - size), last_page)) if offset else None,
        next=href(offset=offset + size) if offset + size < total else None,
    )


def similar_tokens(vocabulary: Vocabulary, field: str, typed: str, href: Href) -> list[Choice]:
    """Tokens that differ from the one typed into a field in white space or case, each with the address that asks for it."""
    wanted = parse_token(typed)
    return [
        Choice(formats.token(token), href(**{field: token.notation}, offset=0), token.bytes == wanted)
        for token in vocabulary.alike(wanted)[:SIMILAR]
    ]


def view_choices(view: str, href: Href) -> list[Choice]:
    """The views to choose from."""
    return [Choice(group.title, href(columns=group.name), group.name == view) for group in VIEWS]
