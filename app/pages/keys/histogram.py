"""The histogram of a key's coefficients as bars of an SVG: one bar a bin, heights by the logarithm of the count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from keyscope.app.web import formats
from keyscope.contract import bins

WIDTH, HEIGHT = 320, 96
_FOOT, _HEAD = 14, 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin with at least one coefficient."""

    x: float
    y: float
    width: float
    height: float
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A number under the axis."""

    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A histogram in a box of `WIDTH` by `HEIGHT`; `axis` is the height of its base line."""

    width: int
    height: int
    axis: int
    bars: list[Bar]
    ticks: list[Tick]
    summary: str
    """One-sentence text alternative."""


def draw(counts: Sequence[int]) -> Drawing | None:
    """The histogram of `counts` per bin of `keyscope.contract.bins`; None if nothing was counted."""
    filled = [at for at, count in enumerate(counts) if count]
    if not filled:
        return None
    edges = bins.edges()
    first, last = min(filled[0], bins.HALF - 1), max(filled[-1], bins.HALF)
    step = WIDTH / (last - first + 1)
    axis = HEIGHT - _FOOT
    unit = (axis - _HEAD) / math.log1p(max(counts))
    bars = []
    for at in filled:
        height = max(1.0, unit * math.log1p(counts[at]))
        title = f"{_range(edges[at], edges[at + 1])}: {formats.count(counts[at])} sampled tokens"
        place = (round((at - first) * step, 2), round(axis - height, 2), round(step * 0.86, 2), round(height, 2))
        bars.append(Bar(*place, css="above" if at >= bins.HALF else "below", title=title))
    ticks = [Tick(round((at - first) * step, 2), anchor, _edge(edges[at])) for at, anchor in _ticks(first, last)]
    above = sum(counts[bins.HALF :])
    summary = f"{formats.share(above / sum(counts))} of {formats.count(sum(counts))} sampled tokens are above 0"
    return Drawing(WIDTH, HEIGHT, axis, bars, ticks, summary)


def _ticks(first: int, last: int) -> list[tuple[int, str]]:
    """Edges to label: both ends, zero, and −1 and 1 where there is room."""
    ends = [(first, "start"), (last + 1, "end")]
    room = (last - first + 1) / 8
    between = [at for at in (_bin_of(-1.0), bins.HALF, _bin_of(1.0)) if first + room < at < last + 1 - room]
    return [ends[0], *((at, "middle") for at in between), ends[1]]


def _bin_of(edge: float) -> int:
    return bins.edges().index(edge)


@cache  # every page has the same edges
def _edge(edge: float) -> str:
    return "∞" if math.isinf(edge) else formats.number(edge)


def _range(low: float, high: float) -> str:
    return f"{_edge(low)} to {_edge(high)}"
