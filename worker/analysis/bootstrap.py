"""Confidence intervals by drawing files again: tokens of one file are alike, so files are what is sampled."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
DRAWS = 1000
LEVEL = 0.95
_CHUNK = 100


class Interval(NamedTuple):
    """An estimate and the ends of its confidence interval, each [cells…]; NaN where nothing was counted."""

    estimate: FloatArray
    low: FloatArray
    high: FloatArray


def ratio_interval(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> Interval:
    """A ratio of sums over files, with the percentile interval of the bootstrap over files (Efron 1979).

    Args:
        numerators: [files, cells…], what each file adds above the line.
        denominators: [files, cells…], or [files] for all cells, what it adds below.
        draws: times the files are drawn again.
        level: of confidence.
        seed: of the draws.
    """
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if below.ndim < above.ndim:
        below = np.broadcast_to(below.reshape(below.shape + (1,) * (above.ndim - below.ndim)), above.shape)
    files, cells = len(above), above.shape[1:]
    above, below = above.reshape(files, -1), below.reshape(files, -1)
    random = np.random.default_rng(seed)
    drawn = []
    for start in range(0, draws, _CHUNK):
        times = random.multinomial(files, np.full(files, 1 / files), size=min(_CHUNK, draws - start))
        drawn.append(_ratio(times @ above, times @ below))
    ends = _quantiles(np.concatenate(drawn), level)
    estimate = _ratio(above.sum(axis=0), below.sum(axis=0))
    return Interval(estimate.reshape(cells), ends[0].reshape(cells), ends[1].reshape(cells))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _quantiles(drawn: FloatArray, level: float) -> FloatArray:
    """Both ends over the draws that have a value, [2, cells]; NaN where none has."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    some = ~np.isnan(drawn).all(axis=0)
    ends[:, some] = np.nanquantile(drawn[:, some], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends
