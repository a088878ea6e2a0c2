"""What a finding is: a claim, the rule it is judged by, what was measured and the verdict."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from statistics import NormalDist

import duckdb

from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.twin import twin_of
from keyscope.contract.manifest import Manifest

Cursor = duckdb.DuckDBPyConnection
_NEGATIVE = re.compile(r"(?<![\w–])-(?=\d)")
Z = NormalDist().inv_cdf(0.975)
"""Standard errors from the mean of a normal distribution to either end of its 95 % interval."""


class Verdict(StrEnum):
    """How a claim fared on a run."""

    EXPECTED = "as expected"
    NOT = "not as expected"
    INCONCLUSIVE = "inconclusive"
    MISSING = "not computed"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on a run for a claim."""

    text: str
    """Figures with their intervals and n."""
    verdict: Verdict
    parts: tuple[str, ...] = ()
    """The same for each thing the text sums up, such as each edit."""

    @property
    def headline(self) -> str:
        """The first of the figures, in one line: the text up to its first semicolon."""
        return self.text.partition("; ")[0]

    @property
    def rest(self) -> str:
        """The figures after the headline; empty if it says all."""
        return self.text.partition("; ")[2]

    @property
    def whole(self) -> str:
        """Text and parts in one line."""
        return f"{self.text}: {'; '.join(self.parts)}" if self.parts else self.text


Measure = Callable[[Cursor, Manifest], Measured | None]
"""Reads the figures of a claim from a run; None if they are missing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement from the literature that can be tried on a run."""

    number: int
    title: str
    says: str
    """The claim, in words."""
    rule: str
    """When a run counts as expected, and when as contrary; anything else is inconclusive."""
    kind: str | None
    """Analysis that has the figures; None if the run file itself has them."""
    page: str
    """Route of the page that draws them."""
    measure: Measure


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim tried on a run."""

    claim: Claim
    measured: Measured
    twin: Measured | None = None
    """The same tried on the run's twin; None without a twin, or where twins have no such figures."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the claim was tried on both and can tell the model from its twin: the twin fails it."""
        if self.twin is None or self.measured.verdict is Verdict.MISSING:
            return False
        return self.twin.verdict is not Verdict.EXPECTED


def claims_about(kind: str | None, page: str) -> Callable[[int, str, str, str], Callable[[Measure], Claim]]:
    """A decorator with a claim's number, title, words and rule, for the function that measures it."""

    def claim(number: int, title: str, says: str, rule: str) -> Callable[[Measure], Claim]:
        return partial(Claim, number, title, says, rule, kind, page)

    return claim


def tried(claims: Sequence[Claim], cursor: Cursor, manifest: Manifest) -> list[Finding]:
    """Try claims on a run and on its twin; claims whose figures are missing have the verdict `MISSING`."""
    missing = Measured("", Verdict.MISSING)
    found = [Finding(claim, _with_minus(claim.measure(cursor, manifest) or missing)) for claim in claims]
    with twin_of(cursor) as twin:
        if twin is None:
            return found
        measured = [each.claim.measure(*twin) for each in found]
    return [replace(each, twin=on_twin and _with_minus(on_twin)) for each, on_twin in zip(found, measured, strict=True)]


def beyond_chance(found: Sequence[Finding]) -> tuple[int, int] | None:
    """How many claims hold of those that the twin fails, and how many it fails; None without a twin."""
    if all(each.twin is None for each in found):
        return None
    failed = [each for each in found if each.beyond_chance]
    return sum(each.measured.verdict is Verdict.EXPECTED for each in failed), len(failed)


def _with_minus(measured: Measured) -> Measured:
    """Negative numbers with a real minus sign."""
    text, *parts = (_NEGATIVE.sub("\N{MINUS SIGN}", each) for each in (measured.text, *measured.parts))
    return replace(measured, text=text, parts=tuple(parts))


def judged(expected: bool, contrary: bool) -> Verdict:
    """The verdict of a rule, given whether the claim holds and whether its contrary does."""
    if expected:
        return Verdict.EXPECTED
    return Verdict.NOT if contrary else Verdict.INCONCLUSIVE


def among(share: float, n: int) -> Estimate:
    """A share of n things with the interval of Wilson (1927), as if they were a sample."""
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5 / (1 + Z**2 / n)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half), n)


def percent(found: Estimate, digits: int = 1) -> str:
    """As a percentage: 12.3 % (11.9–12.8)."""
    # at 100 % decimals add nothing
    least = found.value if found.low is None else min(found.value, found.low)
    how = f".{0 if least > 1 - 0.5 / 10 ** (2 + digits) else digits}f"
    return f"{100 * found.value:{how}} % ({_ends(found, how, '–', 100)})"


def number(found: Estimate) -> str:
    """As a number: 4.21 (3.73 to 4.65)."""
    return f"{_rounded(found.value, '.2f')} ({_ends(found, '.2f')})"


def change(found: Estimate, digits: int, unit: str = "", scale: float = 1) -> str:
    """As a change: +0.12 (+0.05 to +0.20)."""
    how = f"+.{digits}f"
    return f"{_rounded(scale * found.value, how)}{unit} ({_ends(found, how, scale=scale)})"


def _ends(found: Estimate, how: str, between: str = " to ", scale: float = 1) -> str:
    if found.low is None or found.high is None:
        return "too few projects for an interval"
    few = ", few projects" if found.few else ""
    return f"{_rounded(scale * found.low, how)}{between}{_rounded(scale * found.high, how)}{few}"


def _rounded(value: float, how: str) -> str:
    """The number in a format, without the sign of a negative number that rounds to 0."""
    text = f"{value:{how}}"
    return text.replace("-", "") if float(text) == 0 else text


def rank_correlation(values: list[float]) -> float:
    """Spearman's correlation of values with their place in the list; 0 if all are equal."""
    return rank_correlation_of([float(place) for place in range(len(values))], values)


def rank_correlation_of(ones: list[float], others: list[float]) -> float:
    """Spearman's correlation of two lists; 0 if all values of one of them are equal."""
    first, second = _ranks(ones), _ranks(others)
    middle = (len(ones) - 1) / 2
    spreads = [sum((rank - middle) ** 2 for rank in ranks) for ranks in (first, second)]
    if not all(spreads):
        return 0.0
    both = sum((one - middle) * (other - middle) for one, other in zip(first, second, strict=True))
    return float(both / (spreads[0] * spreads[1]) ** 0.5)


def _ranks(values: list[float]) -> list[float]:
    """Ranks from 0; equal values share the mean of theirs."""
    below = [sum(other < value for other in values) for value in values]
    return [low + (sum(other == value for other in values) - 1) / 2 for low, value in zip(below, values, strict=True)]
