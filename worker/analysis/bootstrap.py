"""Confidence intervals by the bootstrap over files.

Tokens of one file resemble each other (same identifiers, same idioms), so they are not independent observations; files
are. Resampling tokens would give intervals far too narrow.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
DRAWS = 1000
LEVEL = 0.95
FEWEST_FILES = 5
"""Files with something to count that an interval needs at least.

Resampling very few files understates how far other files differ; a single one would give an interval of width 0.
"""
_CHUNK = 100
"""Draws held at a time, which bounds memory at [_CHUNK, cells]."""


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, each [cells…]; NaN where nothing was counted.

    With fewer than FEWEST_FILES files to count, only the ends are NaN.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray


def ratio_interval(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Estimate a ratio of sums over files with the percentile interval of the bootstrap over files (Efron 1979).

    The ratio of sums, not the mean of the files' ratios: every token weighs the same, and files with nothing to count
    need no special case. Numerator and denominator are resampled together, so their correlation is accounted for.

    Args:
        numerators: [files, cells…], what each file adds to the numerator.
        denominators: [files, cells…], or [files] for all cells, what it adds to the denominator.
        draws: number of bootstrap draws.
        level: confidence level.
        seed: seed of the draws; cells share the draws, so ratios of one call stay comparable.
    """
    above, below = _aligned(numerators, denominators)
    cells = above.shape[1:]
    above, below = above.reshape(len(above), -1), below.reshape(len(below), -1)
    drawn = [ratio(times @ above, times @ below) for times in _drawn_files(len(above), draws, seed)]
    estimate = ratio(above.sum(axis=0), below.sum(axis=0))
    return _interval(estimate, np.concatenate(drawn), level, (below != 0).sum(axis=0), cells)


def difference_interval(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Estimate the difference of two ratios of sums over the same files, first less second, with its interval.

    Both ratios come from the same draw of files: what a file does to both cancels. Two separate intervals could not
    tell a consistent difference from a coincidence.

    Args:
        numerators: [files, 2, cells…], what each file adds to the numerator of each ratio.
        denominators: [files, 2, cells…] or [files, 2], what it adds to the denominator.
        draws: number of bootstrap draws, shared by both ratios.
        level: confidence level.
        seed: seed of the draws.
    """
    above, below = _aligned(numerators, denominators)
    cells = above.shape[2:]
    above, below = above.reshape(len(above), 2, -1), below.reshape(len(below), 2, -1)

    def difference(times: FloatArray) -> FloatArray:
        ratios = ratio(np.tensordot(times, above, 1), np.tensordot(times, below, 1))
        return np.asarray(ratios[:, 0] - ratios[:, 1])

    drawn = [difference(times) for times in _drawn_files(len(above), draws, seed)]
    estimate, files = difference(np.ones((1, len(above))))[0], (below != 0).sum(axis=0).min(axis=0)
    return _interval(estimate, np.concatenate(drawn), level, files, cells)


def _aligned(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float64 in the shape of the numerators: sums of squares and of counts must stay exact."""
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if below.ndim < above.ndim:
        below = np.broadcast_to(below.reshape(below.shape + (1,) * (above.ndim - below.ndim)), above.shape)
    return above, below


def _drawn_files(files: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each file is drawn, [up to _CHUNK draws, files] at a time.

    Multinomial counts are the same as drawing file numbers with replacement, and turn every draw into a matrix product.
    """
    random = np.random.default_rng(seed)
    for start in range(0, draws, _CHUNK):
        times = random.multinomial(files, np.full(files, 1 / files), size=min(_CHUNK, draws - start))
        yield times.astype(np.float64)


def _interval(
    estimate: FloatArray, drawn: FloatArray, level: float, files: npt.NDArray[np.intp], cells: tuple[int, ...]
) -> Interval:
    ends = np.where(files < FEWEST_FILES, np.nan, _quantiles(drawn, level))
    return Interval(estimate.reshape(cells), ends[0].reshape(cells), ends[1].reshape(cells))


def ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> FloatArray:
    """Divide; NaN where the denominator is 0."""
    shares = np.full(above.shape, np.nan)
    np.divide(above, below, out=shares, where=below != 0)
    return shares


def _quantiles(drawn: FloatArray, level: float) -> FloatArray:
    """Both ends over the draws that have a value, [2, cells]; NaN where none has.

    A draw may leave out every file that has something to count; it says nothing and is skipped, not taken as 0.
    """
    ends = np.full((2, drawn.shape[1]), np.nan)
    some = ~np.isnan(drawn).all(axis=0)
    ends[:, some] = np.nanquantile(drawn[:, some], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends
