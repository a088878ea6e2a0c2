"""The estimate: a measured number with its interval and what it rests on."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keyscope.contract.analyses.intervals import few


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, the ends of its 95 % interval and how many things it rests on.

    Both ends are None where there is no interval: too few files for one, or nothing was sampled.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    """Tokens, keys or whatever else was counted; 0 if unknown."""
    files: int | None = 0
    """Files those are in; 0 or None if unknown, or nothing was sampled."""
    projects: int | None = None
    """Projects those are in; None if the interval is over files, or the file is older than the count."""

    @property
    def few(self) -> bool:
        """Whether it rests on too few projects for a verdict."""
        return few(self.projects, self.files or 0)

    def above(self, bound: "Estimate | float") -> bool:
        """Whether the whole interval is above a number, or above another interval; never said of few projects."""
        end = bound.high if isinstance(bound, Estimate) else bound
        return not self._either_few(bound) and self.low is not None and end is not None and self.low > end

    def below(self, bound: "Estimate | float") -> bool:
        """Whether the whole interval is below a number, or below another interval; never said of few projects."""
        end = bound.low if isinstance(bound, Estimate) else bound
        return not self._either_few(bound) and self.high is not None and end is not None and self.high < end

    def at_least(self, bound: float) -> bool:
        """Whether the whole interval is at a number or above it; never said of few projects."""
        return not self.few and self.low is not None and self.low >= bound

    def _either_few(self, bound: "Estimate | float") -> bool:
        return self.few or (isinstance(bound, Estimate) and bound.few)


@dataclass(frozen=True, slots=True)
class Controlled(Estimate):
    """An estimate and what chance gives in its place."""

    control: Estimate | None = None
    """Mean over the draws of chance, with the range of 95 % of them; None for what is itself a control."""


def grouped(found: Iterable[Sequence[Any]], keys: int) -> dict[Any, dict[Any, Estimate]]:
    """Estimates by key, then by place.

    Args:
        found: rows of `keys` columns that make up the key, then the place (a layer, a size, …), then the fields of
            an `Estimate` in order.
        keys: how many columns make up the key; a key of one column is its value, of several a tuple.
    """
    groups: dict[Any, dict[Any, Estimate]] = defaultdict(dict)
    for row in found:
        groups[tuple(row[:keys]) if keys > 1 else row[0]][row[keys]] = Estimate(*row[keys + 1 :])
    return dict(groups)
