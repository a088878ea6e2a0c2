"""Sections of a page about an analysis: figures, and under them the table with the same numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import plotly.graph_objects as go

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.estimate import Estimate
from keyscope.app.web import formats
from keyscope.contract.keys import KeyId

Place = int | str
"""Row of a table by layer: the number of a layer (or of a tenth, …), or the name of another row."""
Format = Callable[[float], str]
ByPlace = Mapping[Any, Estimate]
"""By `Place`; a mapping by layers alone will do."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A Plotly figure of a section."""

    name: str
    """Last part of its address."""
    title: str
    draw: Callable[[], go.Figure]
    opens_layers: bool = True
    """A click on a layer leads to it."""
    tall: bool = False
    """It has many rows."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, and its interval if it has one."""

    text: str
    interval: str = ""
    twin: str = ""
    """The same of the run's twin, and what is beyond it; empty without a twin."""
    value: float | None = field(default=None, compare=False)
    """What the text says; None where it is no number to compare."""
    show: Format = field(default=formats.number, compare=False)


EMPTY = Cell(formats.NOTHING)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `cells` by row are given to `layer_table` only."""

    title: str
    help: str = ""
    cells: Mapping[Any, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table, which may be about a layer or a key."""

    head: str
    cells: Sequence[Cell]
    layer: int | None = None
    key: KeyId | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A section."""

    name: str
    """Its fragment in the address."""
    title: str
    text: str
    """What is shown, in a few sentences."""
    caption: str
    head: Sequence[Column]
    """Columns, that of the rows' heads first."""
    rows: Sequence[Row]
    figures: Sequence[Figure] = ()
    table: str = ""
    """Table of the analysis to export; none if empty."""


def find_figure(blocks: Iterable[Block], name: str) -> go.Figure:
    """Draw one figure of a page; blocks after the one that has it are not asked for.

    Raises:
        InvalidParameter: no block has a figure of that name.
    """
    known = []
    for block in blocks:
        for figure in block.figures:
            if figure.name == name:
                return figure.draw()
            known.append(figure.name)
    raise InvalidParameter(f"this page has no figure {name!r}: it has {', '.join(known) or 'none'}")


def beside(block: Block, twin: Block) -> Block:
    """A section with the numbers of the twin's beside its own: row by row, column by column."""
    of_twin = {
        (row.head, column.title): cell
        for row in twin.rows
        for column, cell in zip(twin.head[1:], row.cells, strict=True)
        if row.key is None
    }
    rows = [
        replace(
            row,
            cells=[
                _beside(cell, of_twin.get((row.head, column.title), EMPTY))
                for column, cell in zip(block.head[1:], row.cells, strict=True)
            ],
        )
        for row in block.rows
    ]
    return replace(block, rows=rows)


def _beside(cell: Cell, twin: Cell) -> Cell:
    if cell.value is None or twin.value is None:
        return cell
    excess = cell.value - twin.value
    return replace(cell, twin=f"twin {twin.text}, excess {'+' if excess > 0 else ''}{cell.show(excess)}")


def measured(title: str, about: str, found: ByPlace, show: Format) -> Column:
    """A column of estimates with their intervals."""
    return Column(title, about, {place: with_interval(each, show) for place, each in found.items()})


def counted(title: str, about: str, found: ByPlace) -> Column:
    """A column of how many things each estimate rests on."""
    return Column(title, about, {place: Cell(formats.count(each.n)) for place, each in found.items()})


def files(about: str, found: ByPlace) -> Column:
    """A column of how many files each estimate rests on."""
    return Column("files", about, {place: Cell(formats.count(each.files)) for place, each in found.items()})


def layer_table(
    name: str,
    title: str,
    text: str,
    columns: Sequence[Column],
    figures: Sequence[Figure] = (),
    table: str = "",
    row: str = "layer {}",
    caption: str = "",
) -> Block:
    """A section with a row for each layer in any column, in order, and after them the rows that have names.

    Args:
        name: fragment of the section in the address.
        title: of the section.
        text: what it shows.
        columns: all but the first, with their cells.
        figures: with the same numbers.
        table: table of the analysis to export.
        row: head of a row by its number; "layer {}" leads to the layer.
        caption: of the table.
    """
    places = dict.fromkeys(place for column in columns for place in column.cells)
    numbers = sorted(place for place in places if isinstance(place, int))
    names = [place for place in places if isinstance(place, str)]

    def cells(place: Place) -> list[Cell]:
        return [column.cells.get(place, EMPTY) for column in columns]

    rows = [Row(row.format(at), cells(at), at if row == "layer {}" else None) for at in numbers]
    rows += [Row(place, cells(place)) for place in names]
    first = Column(row.replace("{}", "").strip())
    return Block(name, title, text, caption or f"{title}, by {first.title}", [first, *columns], rows, figures, table)


def key_table(
    name: str,
    title: str,
    text: str,
    columns: Mapping[str, str],
    found: Iterable[tuple[KeyId, *tuple[str, ...]]],
    table: str,
    caption: str,
) -> Block:
    """A section that lists keys; `columns` has what each column is, by its title."""
    head = [Column("key"), *(Column(*each) for each in columns.items())]
    rows = [Row(str(key), [Cell(text) for text in texts], key=key) for key, *texts in found]
    return Block(name, title, text, caption, head, rows, table=table)


def with_interval(found: Estimate | None, show: Format) -> Cell:
    """An estimate, and its interval if both ends are known."""
    if found is None:
        return EMPTY
    if found.low is None or found.high is None:
        return Cell(show(found.value), value=found.value, show=show)
    few = ", few projects" if found.few else ""
    return Cell(show(found.value), f"{show(found.low)} to {show(found.high)}{few}", value=found.value, show=show)
