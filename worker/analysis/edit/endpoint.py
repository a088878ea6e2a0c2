"""The one number an edit is registered for, with what it rests on: the concept's harm beyond equally damaging masks."""

from dataclasses import dataclass

import numpy as np

from keyscope.worker.analysis.edit.keys import FloatArray
from keyscope.worker.analysis.intervals import effective, ratio_interval, student
from keyscope.worker.analysis.units import Members

_POWER = 0.8416
"""Quantile of the normal distribution at a power of 0.8."""
_STEPS = 20_000


@dataclass(frozen=True)
class Endpoint:
    """The edit's change minus the mean change of its controls."""

    estimate: float
    error: float
    """Standard error; NaN with too few units."""
    freedom: float

    @property
    def reach(self) -> float:
        """Half the width of the 95 % interval."""
        return float(student(self.freedom)) * self.error

    @property
    def p(self) -> float:
        """Two-sided p against no difference."""
        return two_sided(self.estimate / self.error, self.freedom) if self.error else float("nan")

    @property
    def detectable(self) -> float:
        """The difference that would be found with a probability of 0.8 at the level 0.05."""
        return (float(student(self.freedom)) + _POWER) * self.error


def endpoint(edit: FloatArray, controls: FloatArray, places: FloatArray, units: Members) -> Endpoint:
    """Compare an edit with its controls, as one draw of keys beside many.

    Two things make the difference uncertain: which projects were measured, and which keys the controls have. An edit no
    better than a control differs from their mean by as much as one of them, so the variance over n draws counts
    (1 + 1/n) times. The degrees of freedom are Satterthwaite's (1946).

    Args:
        edit: [files], the change at the concept's places summed by file.
        controls: [draws, files].
        places: [files], numbers of places.
        units: the units of the files.
    """
    found = ratio_interval(edit - controls.mean(axis=0), places, units)
    over_units = max(float(effective(units.sums(places))) - 1, 1.0)
    error = float(found.high - found.estimate) / float(student(over_units))
    drawn = controls.sum(axis=1) / places.sum()
    of_draws = float(drawn.std(ddof=1)) * np.sqrt(1 + 1 / len(drawn))
    both = error**2 + of_draws**2
    parts = error**4 / over_units + of_draws**4 / (len(drawn) - 1)
    return Endpoint(float(found.estimate), float(np.sqrt(both)), both**2 / parts if parts > 0 else over_units)


def two_sided(t: float, freedom: float) -> float:
    """Probability that Student's t is at least so far from 0.

    With t = √ν tan θ its density is that of cos^(ν−1) θ, a finite integral of a smooth function.
    """
    first = float(np.arctan(abs(t) / np.sqrt(freedom)))
    return _cosines(first, freedom) / _cosines(0.0, freedom)


def _cosines(first: float, freedom: float) -> float:
    """The integral of cos^(ν−1) from an angle to a right one, by midpoints."""
    step = (np.pi / 2 - first) / _STEPS
    return float((np.cos(first + (np.arange(_STEPS) + 0.5) * step) ** (freedom - 1)).sum() * step)
