"""Sections of a page about an analysis: figures, and under them the table with the same numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keyscope.app.queries.agreement import Estimate
from keyscope.app.web import formats


@dataclass(frozen=True, slots=True)
class Figure:
    """A Plotly figure."""

    title: str
    href: str
    """Where its JSON is."""
    open: str | None = None
    """Where a click on layer 0 leads, if clicks lead anywhere."""
    tall: bool = False
    """It has many rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    help: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, and its interval where it has one."""

    text: str
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table."""

    head: str
    cells: Sequence[Cell]
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A section."""

    name: str
    """Its fragment in the address."""
    title: str
    text: str
    """What is shown, in a sentence or two."""
    figures: Sequence[Figure]
    caption: str
    head: Sequence[Column]
    """Columns; the first is that of the rows' heads."""
    rows: Sequence[Row]
    exports: dict[str, str] = field(default_factory=dict)


Format = Callable[[float], str]
EMPTY = Cell(formats.NOTHING)


def share(estimate: Estimate | None) -> Cell:
    """A share with its interval."""
    return _cell(estimate, formats.share)


def number(estimate: Estimate | None) -> Cell:
    """A number with its interval."""
    return _cell(estimate, formats.number)


def count(estimate: Estimate | None) -> Cell:
    """How many tokens or keys a number rests on."""
    return EMPTY if estimate is None else Cell(formats.count(estimate.n))


def files(estimate: Estimate | None) -> Cell:
    """In how many files these are."""
    return EMPTY if estimate is None else Cell(formats.count(estimate.files))


def with_interval(value: float, low: float | None, high: float | None, show: Format) -> Cell:
    """A number with its interval, where both ends of it are known."""
    if low is None or high is None:
        return Cell(show(value))
    return Cell(show(value), f"{show(low)} to {show(high)}")


def _cell(estimate: Estimate | None, show: Format) -> Cell:
    return EMPTY if estimate is None else with_interval(estimate.value, estimate.low, estimate.high, show)
