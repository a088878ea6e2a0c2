"""Agreement beyond chance: Cohen's κ, Fleiss' κ and Krippendorff's α, each with a bootstrap interval.

Ratings are integers, one row per key and one column per person: the index of the kind, or `MISSING`. Each statistic is
a formula on a sum over keys of small `kinds × kinds` tables. The bootstrap draws keys with replacement, which only
changes the weight of each table, and keys with equal labels have equal tables. A resample is therefore one multinomial
draw of weights over the few distinct tables.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.app.queries.estimate import Estimate

LANDIS_KOCH = (
    (0.0, "poor"),
    (0.2, "slight"),
    (0.4, "fair"),
    (0.6, "moderate"),
    (0.8, "substantial"),
    (1.0, "almost perfect"),
)
"""The bands of Landis and Koch (1977): the highest κ of each, and its word. Below 0 all is poor."""
FEWEST_KEYS = 20
"""Fewer keys are too few, whatever the interval says: resamples of few keys hardly differ."""
WIDEST = 0.3
"""A wider interval spans more than one band."""

MISSING = -1
RESAMPLES = 2000
LEVEL = 0.95

Ratings = npt.NDArray[np.int64]
Tables = npt.NDArray[np.float64]
"""Shape `… × kinds × kinds`."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """A statistic without a value."""

    n: int
    """Keys it would rest on."""
    reason: str
    """Why it has no value."""
    value: None = None
    low: None = None
    high: None = None


Statistic = Estimate | Undefined
"""A statistic over keys with its 95 % bootstrap interval, which has no ends if too few resamples have a defined value."""


def cohen_kappa(first: Ratings, second: Ratings, kinds: int, seed: int = 0) -> Statistic:
    """Unweighted Cohen's κ of two people over the keys both labelled; `first` and `second` of shape `keys`."""
    ratings = np.stack([first, second], axis=-1)
    both = ratings[(ratings != MISSING).all(axis=1)]
    return _estimate(both, lambda pairs: _joint(pairs, kinds), _cohen, seed)


def fleiss_kappa(ratings: Ratings, kinds: int, seed: int = 0) -> Statistic:
    """Fleiss' κ over the keys that everybody labelled; `ratings` of shape `keys × people`."""
    if ratings.shape[1] < 2:
        return Undefined(0, "it needs at least two people")
    return _estimate(_counts(ratings[(ratings != MISSING).all(axis=1)], kinds), _coincidences, _fleiss, seed)


def krippendorff_alpha(ratings: Ratings, kinds: int, seed: int = 0) -> Statistic:
    """Krippendorff's α for nominal values over the keys with two labels or more; `ratings` of shape `keys × people`."""
    if ratings.shape[1] < 2:
        return Undefined(0, "it needs at least two people")
    counts = _counts(ratings, kinds)
    return _estimate(counts[counts.sum(axis=1) >= 2], _coincidences, _krippendorff, seed)


def reading(statistic: Statistic) -> str:
    """A statistic in words: its band of Landis and Koch, and whether it rests on too few keys; empty if undefined."""
    if statistic.value is None:
        return ""
    band = next((word for highest, word in LANDIS_KOCH if statistic.value <= highest), LANDIS_KOCH[-1][1])
    width = (statistic.high or 0) - (statistic.low or 0)
    if statistic.low is not None and statistic.n >= FEWEST_KEYS and width <= WIDEST:
        return band
    keys = "1 key is" if statistic.n == 1 else f"{statistic.n:,} keys are"
    # Few keys on which all agree have an interval without a width, which says nothing.
    ends = f": \N{PLUS-MINUS SIGN}{width / 2:.2f}" if width else ""
    return f"{band}; {keys} too few{ends}"


def confusion(first: Ratings, second: Ratings, kinds: int) -> npt.NDArray[np.int64]:
    """Counts of the keys both labelled, by the first person's kind (rows) and the second's (columns)."""
    both = (first != MISSING) & (second != MISSING)
    cells = np.bincount(first[both] * kinds + second[both], minlength=kinds * kinds)
    return cells.reshape(kinds, kinds)


def _estimate(
    keys: Ratings, tables_of: Callable[[Ratings], Tables], formula: Callable[[Tables], Tables], seed: int
) -> Statistic:
    """Apply the formula to the summed tables of all keys; each row of `keys` determines the table of one key."""
    n = len(keys)
    if not n:
        return Undefined(0, "no key has the labels it needs")
    rows, counts = np.unique(keys, axis=0, return_counts=True)
    tables = tables_of(rows)
    value = formula(np.tensordot(counts, tables, axes=1))
    if np.isnan(value):
        return Undefined(n, "all labels are of one kind, so chance alone would agree as often")
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    resampled = formula(np.tensordot(drawn, tables, axes=1))
    resampled = resampled[~np.isnan(resampled)]
    if n < 2 or len(resampled) < RESAMPLES / 2:
        return Estimate(float(value), n=n)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), n)


def _counts(ratings: Ratings, kinds: int) -> Ratings:
    """How many labels of each kind a key has; shape `keys × kinds`."""
    return np.stack([(ratings == kind).sum(axis=1) for kind in range(kinds)], axis=-1)


def _joint(pairs: Ratings, kinds: int) -> Tables:
    """One table per key, with a single 1 at (first person's kind, second person's kind)."""
    each = np.eye(kinds)[pairs]
    tables: Tables = each[:, 0, :, None] * each[:, 1, None, :]
    return tables


def _coincidences(counts: Ratings) -> Tables:
    """One table per key of the ordered pairs of labels by different people, each label weighing 1 in total."""
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    tables: Tables = pairs / (counts.sum(axis=1) - 1)[:, None, None]
    return tables


def _cohen(joint: Tables) -> Tables:
    shares = joint / joint.sum(axis=(-2, -1), keepdims=True)
    chance = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    return _beyond(_diagonal(shares), chance)


def _fleiss(coincidences: Tables) -> Tables:
    shares = coincidences / coincidences.sum(axis=(-2, -1), keepdims=True)
    return _beyond(_diagonal(shares), (shares.sum(axis=-1) ** 2).sum(axis=-1))


def _krippendorff(coincidences: Tables) -> Tables:
    of_kind = coincidences.sum(axis=-1)
    labels = of_kind.sum(axis=-1)
    # Chance draws two labels without replacement; Fleiss' κ draws with replacement.
    chance = (of_kind * (of_kind - 1)).sum(axis=-1) / (labels * (labels - 1))
    return _beyond(_diagonal(coincidences) / labels, chance)


def _diagonal(tables: Tables) -> Tables:
    agreeing: Tables = np.trace(tables, axis1=-2, axis2=-1)
    return agreeing


def _beyond(observed: Tables, chance: Tables) -> Tables:
    """(observed - chance) / (1 - chance); NaN where chance is 1."""
    room = 1 - chance
    defined = room > 1e-12
    share: Tables = np.where(defined, (observed - chance) / np.where(defined, room, 1), np.nan)
    return share
