"""Chance: tails of sums of binomials, and p-values corrected for the number of tests.

All in logarithms: with tens of thousands of keys the p-values that survive correction can be far below the smallest
double, and as zeros they could not be ranked.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TAIL = 100
"""Keys of a layer that are kept for their small p, so that those of a twin show how its tail falls off."""


def log_tail(trials: npt.ArrayLike, rates: npt.ArrayLike) -> FloatArray:
    """log P(X ≥ k), X the successes in groups of independent trials, each group with its own rate.

    The groups are languages: triggers in each have another base rate, and pooling the rates would be wrong for keys
    that prefer one language. The binomials are convolved exactly.

    Args:
        trials: [cells, groups], trials of each group.
        rates: [groups], their chance of success, 0 to 1.

    Returns:
        [cells, 1 + most trials], for k from 0; minus infinity for k above a cell's trials.
    """
    counts = np.asarray(trials, dtype=np.int64)
    mass = np.zeros((len(counts), 1))
    for group, rate in enumerate(np.asarray(rates, dtype=np.float64)):
        mass = _convolved(mass, _log_binomial(counts[:, group], float(rate)))
    # summed from the far end, smallest terms first, so no tail is lost in rounding
    tail: FloatArray = np.logaddexp.accumulate(mass[:, ::-1], axis=1)[:, ::-1]
    tail[:, 0] = 0.0
    return np.minimum(tail, 0.0)


def any_hit(trials: npt.ArrayLike, rates: npt.ArrayLike) -> FloatArray:
    """The chance of any success, 1 - Π (1 - p)^N over the groups; trials [cells, groups], rates [groups] → [cells].

    By log1p and expm1: with p of 1e-6 the plain formula keeps hardly ten digits.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        none = np.asarray(trials, np.float64) * np.log1p(-np.asarray(rates, np.float64))
    chance: FloatArray = -np.expm1(np.nan_to_num(none, nan=0.0, neginf=-np.inf).sum(axis=-1))
    return chance


def benjamini_hochberg(log_p: npt.ArrayLike) -> FloatArray:
    """log q of every test, the smallest false discovery rate at which it is significant (Benjamini and Hochberg 1995).

    The running minimum from the largest p downwards makes q monotone in p; [tests] → [tests].
    """
    given = np.asarray(log_p, np.float64)
    order = np.argsort(given, kind="stable")
    scaled = given[order] + np.log(len(given)) - np.log(np.arange(1, len(given) + 1))
    log_q = np.empty_like(given)
    log_q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0.0)
    return log_q


def calibrated(log_p: FloatArray, null: FloatArray, keys: int) -> FloatArray:
    """log of the chance that a key with nothing to find has a p as small or smaller, from keys that have nothing to find.

    A count of those cannot go below one in their number, which one key among thousands of tests never survives. So the
    smallest `TAIL` of them, a tenth at most, tell how -log p falls off beyond: exponentially, with a mean of 1 if p is
    uniform and more if p is too small (Knijnenburg et al. 2009, whose tail has a second parameter). Less than 1 is not
    believed: where few keys have any hit, p has few values, and many equal ones would seem to fall off at once.

    Args:
        log_p: [keys].
        null: log p of the other keys: of all, or of at least the `TAIL` smallest.
        keys: how many other keys there are.

    Returns:
        [keys], at most 0, monotone in `log_p`.
    """
    scores, others = -np.asarray(log_p, np.float64), -np.sort(np.asarray(null, np.float64))
    tail = min(TAIL - 1, keys // 10, int((others > 0).sum()))
    # the smallest of the tail: with few hits there is a gap below it, down to 0
    edge = others[tail - 1] if tail else 0.0
    mean = max(((others[:tail] - edge).sum() + 1) / max(tail, 1), 1.0)
    beyond = np.log((tail + 1) / (keys + 1)) - (scores - edge) / mean
    as_small = np.searchsorted(-others, -scores, side="right")
    counted = np.log((as_small + 1) / (keys + 1))
    return np.minimum(np.where(scores > edge, beyond, counted), 0.0)


def _log_binomial(trials: npt.NDArray[np.int64], rate: float) -> FloatArray:
    """log P(X = k) for every cell's trials, [cells] → [cells, 1 + most trials]."""
    n, successes = trials[:, None], np.arange(trials.max(initial=0) + 1)[None]
    failures = n - successes
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials.max(initial=0) + 1)))])
    choices = factorials[n] - factorials[successes] - factorials[np.maximum(failures, 0)]
    mass = choices + _times(successes, rate) + _times(failures, 1.0 - rate)
    return np.where(failures >= 0, mass, -np.inf)


def _times(counts: npt.NDArray[np.int64], rate: float) -> FloatArray:
    """log of rate ** counts, with 0 ** 0 = 1."""
    log = np.log(rate) if rate > 0 else -np.inf
    return np.multiply(counts, log, out=np.zeros(counts.shape), where=counts != 0)


def _convolved(left: FloatArray, right: FloatArray) -> FloatArray:
    """Log-probabilities of the sum of two independent counts, [cells, a] and [cells, b] → [cells, a + b - 1]."""
    short, long = sorted((left, right), key=lambda mass: mass.shape[1])
    total = np.full((len(left), left.shape[1] + right.shape[1] - 1), -np.inf)
    for shift in range(short.shape[1]):
        part = total[:, shift : shift + long.shape[1]]
        np.logaddexp(part, short[:, shift : shift + 1] + long, out=part)
    return total
