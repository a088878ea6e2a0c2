"""Intervals of what is more than a ratio of sums: the whole of it is done again over the files of every draw."""

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.bootstrap import LEVEL, Interval

FloatArray = npt.NDArray[np.float64]


def drawn_within(strata: npt.ArrayLike, draws: int, seed: int) -> FloatArray:
    """How often each of some things is drawn, as many out of each stratum as it has, [draws, things].

    Args:
        strata: [things], the stratum of each.
        draws: times they are drawn.
        seed: of the draws.
    """
    of = np.asarray(strata)
    random = np.random.default_rng(seed)
    times = np.zeros((draws, len(of)))
    for stratum in np.unique(of):
        members = np.flatnonzero(of == stratum)
        times[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return times


def spread_about(estimate: npt.ArrayLike, drawn: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """An estimate with the spread of its draws about their own mean laid around it.

    For estimates that drawing files again moves by itself, since a file drawn twice brings its tokens twice: what is found
    in them is then more concentrated than it is in the corpus, and some of what the corpus has is missing.

    Args:
        estimate: [cells…].
        drawn: [draws, cells…], the same over the files of each draw; NaN where a draw has none.
        level: of confidence.
    """
    value, draws = np.asarray(estimate, np.float64), np.asarray(drawn, np.float64)
    flat = draws.reshape(len(draws), -1)
    some = ~np.isnan(flat).all(axis=0)
    ends = np.full((2, flat.shape[1]), np.nan)
    chosen = flat[:, some]
    ends[:, some] = np.nanquantile(chosen, [(1 - level) / 2, (1 + level) / 2], axis=0) - np.nanmean(chosen, axis=0)
    # where hardly a draw differs from the others, their mean lies outside of nearly all of them
    low, high = np.minimum(ends[0], 0).reshape(value.shape), np.maximum(ends[1], 0).reshape(value.shape)
    return Interval(value, value + low, value + high)
