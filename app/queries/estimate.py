"""The estimate: a measured number with its interval and what it rests on."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


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
    files: int = 0
    """Files those are in; 0 if unknown."""

    def above(self, bound: "Estimate | float") -> bool:
        """Whether the whole interval is above a number, or above another interval."""
        end = bound.high if isinstance(bound, Estimate) else bound
        return self.low is not None and end is not None and self.low > end

    def below(self, bound: "Estimate | float") -> bool:
        """Whether the whole interval is below a number, or below another interval."""
        end = bound.low if isinstance(bound, Estimate) else bound
        return self.high is not None and end is not None and self.high < end

    def at_least(self, bound: float) -> bool:
        """Whether the whole interval is at a number or above it."""
        return self.low is not None and self.low >= bound


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
