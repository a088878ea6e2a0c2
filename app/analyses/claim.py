"""What a finding is: a claim, the rule it is judged by, what was measured and the verdict."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isnan, nan
from statistics import NormalDist

import duckdb

from keyscope.contract.manifest import Manifest

Cursor = duckdb.DuckDBPyConnection
_NEGATIVE = re.compile(r"(?<![\w–])-(?=\d)")
Z = NormalDist().inv_cdf(0.975)
"""Standard errors to either end of a 95 % interval of what is normally distributed."""


class Verdict(StrEnum):
    """How a claim fared on a run."""

    EXPECTED = "as expected"
    NOT = "not as expected"
    INCONCLUSIVE = "inconclusive"
    MISSING = "not computed"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run says about a claim."""

    text: str
    """Figures with their intervals and n."""
    verdict: Verdict
    parts: tuple[str, ...] = ()
    """The same of each thing that the text is about, such as each edit."""

    @property
    def whole(self) -> str:
        """All of it in one line."""
        return f"{self.text}: {'; '.join(self.parts)}" if self.parts else self.text


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the literature says that can be tried on a run."""

    number: int
    title: str
    says: str
    """What is claimed, in words."""
    rule: str
    """When a run counts as showing it, and when as showing the contrary; anything else is inconclusive."""
    kind: str | None
    """Analysis that has the figures; None where the run file itself has them."""
    page: str
    """Route of the page that draws them."""
    measure: Callable[[Cursor, Manifest], Measured | None]
    """Reads the figures; None where they are not there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim tried on a run."""

    claim: Claim
    measured: Measured


def tried(claims: Sequence[Claim], cursor: Cursor, manifest: Manifest) -> list[Finding]:
    """Claims tried on a run, their negative numbers with a real minus; those without figures are not computed."""
    missing = Measured("", Verdict.MISSING)
    found = [(claim, claim.measure(cursor, manifest) or missing) for claim in claims]
    return [Finding(claim, _with_minus(measured)) for claim, measured in found]


def _with_minus(measured: Measured) -> Measured:
    text, *parts = (_NEGATIVE.sub("\N{MINUS SIGN}", each) for each in (measured.text, *measured.parts))
    return replace(measured, text=text, parts=tuple(parts))


@dataclass(frozen=True, slots=True)
class Rate:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    """NaN, as the other end, where there were too few files for an interval: it is then apart from nothing."""
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float | None]) -> "Rate":
        """An estimate and both ends, as a table has them."""
        return cls(*(nan if number is None else number for number in numbers))

    @classmethod
    def among(cls, share: float, n: int) -> "Rate":
        """A share of n things, with the interval of Wilson (1927) over them, as if they were drawn from many."""
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5 / (1 + Z**2 / n)
        return cls(share, max(0.0, middle - half), min(1.0, middle + half))

    def above(self, other: "Rate") -> bool:
        """Higher, the intervals apart."""
        return self.low > other.high

    def share(self, digits: int = 1) -> str:
        """As a percentage: 12.3 % (11.9–12.8)."""
        # where it and its interval are all of it, decimal places say no more
        certain = min(each for each in (self.estimate, self.low) if not isnan(each)) > 1 - 0.5 / 10 ** (2 + digits)
        how = f".{0 if certain else digits}f"
        return f"{100 * self.estimate:{how}} % ({self._ends(how, '–', 100)})"

    def number(self) -> str:
        """As a number: 4.21 (3.73 to 4.65)."""
        return f"{_rounded(self.estimate, '.2f')} ({self._ends('.2f')})"

    def change(self, digits: int, unit: str = "", scale: float = 1) -> str:
        """As a change: +0.12 (+0.05 to +0.20)."""
        how = f"+.{digits}f"
        return f"{_rounded(scale * self.estimate, how)}{unit} ({self._ends(how, scale=scale)})"

    def _ends(self, how: str, between: str = " to ", scale: float = 1) -> str:
        if isnan(self.low) or isnan(self.high):
            return "too few files for an interval"
        return f"{_rounded(scale * self.low, how)}{between}{_rounded(scale * self.high, how)}"


def _rounded(value: float, how: str) -> str:
    """A number as asked for, without the sign of one that rounds to 0 from below."""
    text = f"{value:{how}}"
    return text.replace("-", "") if float(text) == 0 else text


def judged(expected: bool, contrary: bool) -> Verdict:
    """The verdict of a rule that says when a claim holds and when its contrary does."""
    if expected:
        return Verdict.EXPECTED
    return Verdict.NOT if contrary else Verdict.INCONCLUSIVE


def rank_correlation(values: list[float]) -> float:
    """Spearman's correlation of values with their place in the list; 0 where all are equal."""
    n = len(values)
    ranks = _ranks(values)
    middle = (n - 1) / 2
    spread = sum((rank - middle) ** 2 for rank in ranks)
    if n < 2 or not spread:
        return 0.0
    straight = sum((place - middle) ** 2 for place in range(n))
    both = sum((place - middle) * (rank - middle) for place, rank in enumerate(ranks))
    return float(both / (straight * spread) ** 0.5)


def _ranks(values: list[float]) -> list[float]:
    """Ranks from 0, equal values sharing the mean of theirs."""
    below = [sum(other < value for other in values) for value in values]
    return [low + (sum(other == value for other in values) - 1) / 2 for low, value in zip(below, values, strict=True)]
