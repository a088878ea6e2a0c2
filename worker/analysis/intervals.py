"""Confidence intervals over units of the corpus, which are projects wherever a language has enough of them.

Tokens of one file resemble each other, and files of one project do (same authors, idioms and libraries), so neither are
independent observations; projects are. The spread between tokens or files would give intervals far too narrow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.units import Members

FloatArray = npt.NDArray[np.float64]
LEVEL = 0.95
FEWEST_UNITS = 3
"""Units with something to count that an interval needs at least: two can agree by accident."""
_FREEDOM = np.array([1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 10, 30, np.inf])
_INVERSE_FREEDOM = -1 / _FREEDOM
_QUANTILES = np.array([12.7062, 8.0280, 6.0167, 4.3027, 3.5747, 3.1824, 2.7764, 2.4469, 2.2281, 2.0423, 1.9600])
"""Of Student's t at (1 + LEVEL) / 2, by degrees of freedom."""


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, each [cells…]; NaN where nothing was counted.

    With fewer than FEWEST_UNITS units to count, only the ends are NaN.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    projects: FloatArray
    """Projects with something to count; NaN where the interval is over files."""

    def within(self, lowest: float, highest: float) -> "Interval":
        """The same with its ends cut to the range that the estimate can take, such as 0 to 1 for a share."""
        return self._replace(low=np.maximum(self.low, lowest), high=np.minimum(self.high, highest))

    def certain(self) -> "Interval":
        """The same with what ends it has at the estimate, for what is so by definition."""
        return self._replace(low=self.estimate + 0 * self.low, high=self.estimate + 0 * self.high)

    def exp(self) -> "Interval":
        """The exponential of the estimate: exp is monotone, so its ends are those of the interval."""
        return Interval(np.exp(self.estimate), np.exp(self.low), np.exp(self.high), self.projects)


def ratio_interval(numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Members) -> Interval:
    """Estimate a ratio of sums with the interval of the jackknife over units.

    The ratio of sums, not the mean of the units' ratios: every token weighs the same, and files with nothing to count
    need no special case.

    The standard error comes from leaving out one unit at a time (the cluster-robust CR3 of the ratio estimator; Bell and
    McCaffrey 2002), and its quantile from Student's t. Large projects make few do the work of many, so the degrees of
    freedom are those of the effective number of units, (Σ n)² / Σ n² less one (after Carter, Schnepel and Steigerwald
    2017), n being the denominator of a unit.

    Args:
        numerators: [files, cells…], what each file adds to the numerator.
        denominators: [files, cells…], or [files] for all cells, what it adds to the denominator.
        units: the units of these files.
    """
    above, below = _by_unit(numerators, denominators, units)

    there = below != 0
    return _jackknife(ratio, above, below, there, effective(below), _projects(there, units))


def share_interval(numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Members) -> Interval:
    """Estimate a share, or any mean of numbers from 0 to 1, with an interval on the scale of log odds.

    On the plain scale the interval of a rare share is too low, and covers it too seldom: where few units have many of the
    cases, estimate and standard error are small together. So the jackknife of `ratio_interval` is taken of log odds, and
    its ends are turned back.

    Units could differ most if each had all or none. As many independent trials as there are effective units have then as
    wide an interval as there can be, that of Wilson (1927), which cuts the other one. Alone it stands where log odds are
    infinite: for shares of 0 and 1, and where all cases are in one unit.

    Arguments as of `ratio_interval`, with every unit's numerator from 0 to its denominator.
    """
    above, below = _by_unit(numerators, denominators, units)
    there, effective_units = below != 0, effective(below)
    found = _jackknife(_log_odds, above, below, there, effective_units, _projects(there, units))
    share = ratio(above.sum(axis=0), below.sum(axis=0))
    lowest, highest = _wilson(share, effective_units)
    too_few = there.sum(axis=0) < FEWEST_UNITS
    low = np.where(too_few, np.nan, np.fmax(_share(found.low), lowest))
    high = np.where(too_few, np.nan, np.fmin(_share(found.high), highest))
    return found._replace(estimate=share, low=low, high=high)


def difference_interval(numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Members) -> Interval:
    """Estimate the difference of two ratios of sums over the same units, first less second, with its interval.

    Both ratios leave out the same unit at a time: what a unit does to both cancels. Two separate intervals could not
    tell a consistent difference from a coincidence.

    Args:
        numerators: [files, 2, cells…], what each file adds to the numerator of each ratio.
        denominators: [files, 2, cells…] or [files, 2], what it adds to the denominator.
        units: the units of these files.
    """
    above, below = _by_unit(numerators, denominators, units)

    def difference(above: FloatArray, below: FloatArray) -> FloatArray:
        ratios = ratio(above, below)
        return np.asarray(ratios[..., 0, :] - ratios[..., 1, :])

    cells = above.shape[2:]
    above, below = above.reshape(len(above), 2, -1), below.reshape(len(below), 2, -1)
    fewer = effective(below).min(axis=0)
    there = (below != 0).all(axis=1)
    found = _jackknife(difference, above, below, there, fewer, _projects(there, units))
    return Interval(*(each.reshape(cells) for each in found))


def effective(sizes: FloatArray) -> FloatArray:
    """How many units of equal size are worth as much as these, [units, cells…] → [cells…]; 0 without any."""
    return np.nan_to_num(ratio(sizes.sum(axis=0) ** 2, (sizes**2).sum(axis=0)))


def student(freedom: npt.ArrayLike) -> FloatArray:
    """Quantile of Student's t at (1 + LEVEL) / 2, for one degree of freedom or more, which need not be whole.

    Between the tabulated ones it is nearly linear in the inverse of the degrees of freedom: at most 1 % too high from 1.5
    degrees on.
    """
    return np.asarray(
        np.interp(-1 / np.maximum(np.asarray(freedom, np.float64), 1.0), _INVERSE_FREEDOM, _QUANTILES), dtype=np.float64
    )


def ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> FloatArray:
    """Divide; NaN where the denominator is 0."""
    shares = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=shares, where=below != 0)
    return shares


def _log_odds(above: FloatArray, below: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(ratio(above, below - above)))


def _share(log_odds: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-log_odds)))


def _wilson(share: FloatArray, trials: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The ends of Wilson's score interval of a share of independent trials, whose number need not be whole."""
    squared = float(student(np.inf)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(squared * (share * (1 - share) / trials + squared / (4 * trials**2)))
        middle, scale = share + squared / (2 * trials), 1 + squared / trials
    return np.clip((middle - spread) / scale, 0, share), np.clip((middle + spread) / scale, share, 1)


def _by_unit(numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Members) -> tuple[FloatArray, FloatArray]:
    """Both summed by unit, as float64 in the shape of the numerators: sums of squares and of counts must stay exact."""
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if below.ndim < above.ndim:
        below = np.broadcast_to(below.reshape(below.shape + (1,) * (above.ndim - below.ndim)), above.shape)
    return units.sums(above), units.sums(below)


def _jackknife(
    statistic: Callable[[FloatArray, FloatArray], FloatArray],
    above: FloatArray,
    below: FloatArray,
    there: npt.NDArray[np.bool_],
    effective_units: FloatArray,
    projects: FloatArray,
) -> Interval:
    """The interval of a statistic of two sums over units, [units, …] each.

    The deviations are from the estimate, not from their own mean, so units with nothing to count add nothing.
    """
    whole, total = above.sum(axis=0), below.sum(axis=0)
    estimate = statistic(whole, total)
    without = statistic(whole - above, total - below)
    n = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt((n - 1) / n * ((without - estimate) ** 2).sum(axis=0))
    reach = np.where(n < FEWEST_UNITS, np.nan, student(effective_units - 1) * error)
    return Interval(estimate, estimate - reach, estimate + reach, projects)


def _projects(there: npt.NDArray[np.bool_], units: Members) -> FloatArray:
    """How many of the units that are there are projects, [units, cells…] → [cells…]; NaN where none is."""
    found = there[units.are_projects].sum(axis=0).astype(np.float64)
    return np.where(found > 0, found, np.nan)
