"""Intervals for statistics that are not ratios of sums: each is recomputed over the files of every draw."""

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.intervals import LEVEL, Interval, effective, student

FloatArray = npt.NDArray[np.float64]


def drawn_within(strata: npt.ArrayLike, draws: int, seed: int) -> FloatArray:
    """How often each thing is drawn when every stratum is resampled on its own, [draws, things].

    Each stratum keeps its size in every draw. Without that the share of a language would vary from draw to draw, which
    the corpus fixes by design.

    Args:
        strata: [things], the stratum of each.
        draws: number of draws.
        seed: seed of the draws.
    """
    of = np.asarray(strata)
    random = np.random.default_rng(seed)
    times = np.zeros((draws, len(of)))
    for stratum in np.unique(of):
        members = np.flatnonzero(of == stratum)
        times[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return times


def widening(sizes: npt.ArrayLike) -> float:
    """By how much draws of few units spread too little, as a factor on their quantiles.

    Resampling n units gives √((n - 1) / n) of their spread, and quantiles of a normal distribution where those of
    Student's t are due; both corrections are those of `ratio_interval`, with its effective number of units.

    Args:
        sizes: [units], tokens of each, or whatever else it counts by.
    """
    some = np.asarray(sizes, np.float64)
    units = max(float(effective(some)), 2.0)
    return float(student(units - 1) / student(np.inf) * np.sqrt(units / (units - 1)))


def spread_about(estimate: npt.ArrayLike, drawn: npt.ArrayLike, wider: float, projects: float) -> Interval:
    """Lay the spread of the draws about their own mean around an estimate.

    For statistics that resampling biases: a file drawn twice brings all its tokens twice, so triggers look more
    concentrated than they are, and about 1/e of the files are missing from a draw. The draws' mean is off by that bias,
    and a percentile interval may not even hold the estimate. The deviations from the mean are not off, so they are what
    is used (the centred form of the bootstrap; Efron and Tibshirani 1993, chapter 10, on its bias).

    Args:
        estimate: [cells…].
        drawn: [draws, cells…], the statistic over the files of each draw; NaN where a draw has none.
        wider: the factor for few units, from `widening`.
        projects: number of projects drawn from; NaN if files were drawn.
    """
    value, draws = np.asarray(estimate, np.float64), np.asarray(drawn, np.float64)
    flat = draws.reshape(len(draws), -1)
    some = ~np.isnan(flat).all(axis=0)
    ends = np.full((2, flat.shape[1]), np.nan)
    chosen = flat[:, some]
    ends[:, some] = np.nanquantile(chosen, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) - np.nanmean(chosen, axis=0)
    # if only a few draws differ from the rest, both quantiles are on one side of the mean: keep the estimate inside
    low, high = (wider * end.reshape(value.shape) for end in (np.minimum(ends[0], 0), np.maximum(ends[1], 0)))
    return Interval(value, value + low, value + high, np.full(value.shape, projects))
