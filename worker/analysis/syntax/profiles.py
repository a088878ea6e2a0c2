"""What the triggers of each key have in common, aspect by aspect, compared with the corpus and with chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.alike import Once, log_tail_of_sum
from keyscope.worker.analysis.syntax.concentration import Groups

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
LISTED = 4
"""Values kept per key and aspect."""


@dataclass(frozen=True)
class Profiles:
    """The commonest values of one aspect for each key of a layer; all arrays are [rows], ordered by key and rank."""

    key: IntArray
    rank: IntArray
    """From 1, the commonest."""
    value: IntArray
    triggers: IntArray
    share: FloatArray
    base: FloatArray
    sample_share: FloatArray
    log_p: FloatArray
    """Of rows of rank 1; NaN elsewhere, as in the next field."""
    log_distinct_p: FloatArray

    @property
    def tops(self) -> IntArray:
        """The commonest value of each key that has triggers."""
        tops: IntArray = self.value[self.rank == 1]
        return tops


def profile(
    keys: int,
    key: IntArray,
    language: IntArray,
    value: IntArray,
    once: Sequence[tuple[Once, FloatArray]],
    samples: Groups,
    base: FloatArray,
) -> Profiles:
    """Profile each key in one aspect.

    Two p-values for the commonest value: `log_p` against random places of the corpus in the languages of the triggers,
    `log_distinct_p` against keys that know no syntax (see `alike`). Both are multiplied by the number of values there
    are (Bonferroni), because the commonest one was picked after looking.

    Args:
        keys: number of keys of the layer.
        key: [triggers], ascending.
        language: [triggers], language of each.
        value: [triggers], value of the aspect.
        once: for each kind of unit the distinct units of the keys, and how often units of each class have a value of
            the aspect, [classes, values].
        samples: values of the aspect at samples of the keys.
        base: base rates of the values, [languages, values].
    """
    groups = Groups(key, value, keys)
    masses = groups.masses()
    order = np.lexsort((groups.code, -masses, groups.key))
    rank = _ranks(groups.key)
    chosen, rank = order[rank < LISTED], rank[rank < LISTED] + 1
    of_key, found = groups.key[chosen], groups.code[chosen]
    mix, total = _mix(keys, key, language, len(base))
    expected = (mix[of_key] * base[:, found].T).sum(axis=1)
    log_p = np.full(len(chosen), np.nan)
    log_distinct_p = np.full(len(chosen), np.nan)
    top = rank == 1
    # number of values the commonest one was picked from
    picked = np.log(np.maximum((base > 0).any(axis=0).sum(), 1))
    log_p[top] = np.minimum(log_tail(masses[chosen][top], total[of_key[top]], expected[top]) + picked, 0)
    wanted = np.zeros(keys, dtype=np.int64)
    wanted[of_key[top]] = found[top]
    for each, shares in once:
        goal = wanted[key[each.trigger]]
        chance = log_tail_of_sum(keys, key[each.trigger], shares[each.classes, goal], value[each.trigger] == goal)
        # the largest p: the value is only more than chance if no kind of unit explains it alone
        log_distinct_p[top] = np.fmax(log_distinct_p[top], np.minimum(chance[of_key[top]] + picked, 0))
    return Profiles(
        key=of_key,
        rank=rank,
        value=found,
        triggers=masses[chosen].astype(np.int64),
        share=masses[chosen] / total[of_key],
        base=expected,
        sample_share=_share_of(samples, of_key, found),
        log_p=log_p,
        log_distinct_p=log_distinct_p,
    )


def log_tail(hits: FloatArray, trials: FloatArray, rate: FloatArray) -> FloatArray:
    """log P(X ≥ hits) for binomial X; all [cells].

    In logarithms with the largest term factored out: the tails of interest are far below the smallest double.
    """
    most = int(trials.max(initial=0))
    counts = np.arange(most + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    n = trials.astype(np.int64)[:, None]
    possible = (counts >= hits[:, None]) & (counts <= n)
    rest = np.where(possible, n - counts, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = factorials[n] - factorials[counts] - factorials[rest]
        logs = logs + np.where(counts > 0, counts * np.log(rate[:, None]), 0.0)
        logs = logs + np.where(rest > 0, rest * np.log1p(-rate[:, None]), 0.0)
    logs = np.where(possible, logs, -np.inf)
    largest = np.maximum(logs.max(axis=1, initial=-np.inf), -1e300)
    with np.errstate(divide="ignore"):
        tails = largest + np.log(np.exp(logs - largest[:, None]).sum(axis=1))
    return np.where(hits <= 0, 0.0, np.minimum(tails, 0.0))


def _mix(keys: int, key: IntArray, language: IntArray, languages: int) -> tuple[FloatArray, FloatArray]:
    """Share of each language among a key's triggers, [keys, languages], and their number, [keys]."""
    counts = np.bincount(key * languages + language, minlength=keys * languages).reshape(keys, languages)
    total = counts.sum(axis=1).astype(np.float64)
    return counts / np.maximum(total, 1)[:, None], total


def _share_of(samples: Groups, key: IntArray, value: IntArray) -> FloatArray:
    """Share of a key's samples that have a value; NaN for a key without samples."""
    shares = np.full(len(key), np.nan)
    if not len(samples.key):
        return shares
    masses = samples.masses()
    size = 1 + max(int(samples.code.max()), int(value.max(initial=0)))
    pairs, wanted = samples.key * size + samples.code, key * size + value
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    found = np.where(pairs[at] == wanted, masses[at], 0.0)
    total = samples.totals(masses)[key]
    np.divide(found, total, out=shares, where=total > 0)
    return shares


def _ranks(key: IntArray) -> IntArray:
    """Index of each row among those of its key; rows are ordered by key."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sizes = np.diff(np.append(starts, len(key)))
    return np.arange(len(key)) - np.repeat(starts, sizes)
