"""Choosing the windows kept as samples of a key's whole range, beside its strongest triggers.

For each key every window has one number, its largest coefficient. The windows with the highest pseudo-random priority are
kept, one of each file in a list: some of all windows, some in which the key does not fire and, spread over several lists,
more of those in which it does. The last are a fair draw, so their ranks tell where the deciles of all such windows are,
and each tenth of them, cut at the end, is a sample of its decile. A priority depends on the window and the key alone:
samples of shards merge by taking the best again, and no worker has to wait for another.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract import bins
from keyscope.worker.precompute.entries import Entries, first_of, rank_in

SLOTS = 8
"""Samples kept per list."""
RANDOM, SILENT, FIRST_FIRING = 0, 1, 2
"""Lists of a key: any window; windows in which it never fires; the first of those in which it fires."""
FIRING_LISTS = 8
"""A window in which the key fires belongs to one of so many lists, drawn by its hash."""
N_GROUPS = FIRST_FIRING + FIRING_LISTS
_LIST_SALT = 0x5A17
"""Makes the lists independent of the priorities."""
DECILES = tuple(f"{low}-{low + 10}" for low in range(0, 100, 10))
BANDS = (*DECILES, "random", "silent")
PER_DECILE = 5
PER_BAND = 8
"""Samples stored of the random and of the silent band."""
_EDGES = np.array(bins.edges())


def firing_lists(window_noise: Tensor) -> Tensor:
    """The list of each window for the keys that fire in it, int64 [windows]; `window_noise` as for `priorities`."""
    return FIRST_FIRING + _scramble(window_noise ^ _LIST_SALT) % FIRING_LISTS


def key_noise(keys: int, layer: int, device: torch.device) -> Tensor:
    """A pseudo-random number per key, [keys] int64 below 2^31."""
    numbers = torch.arange(keys, dtype=torch.int64, device=device) + (layer << 20)
    return _scramble(numbers)


def priorities(window_noise: Tensor, noise_of_key: Tensor) -> Tensor:
    """A pseudo-random priority for every window and key.

    Args:
        window_noise: [windows] int64 below 2^31.
        noise_of_key: [keys] int64 below 2^31.

    Returns:
        Whole float32 numbers below 2^24, which float32 represents exactly, [windows, keys].
    """
    return (_scramble(window_noise[:, None] ^ noise_of_key) >> 7).float()


def _scramble(numbers: Tensor) -> Tensor:
    """A 31-bit integer hash: two rounds of multiply and shift.

    31 bits, so the product with a 27-bit factor stays within int64: torch has no unsigned 64-bit arithmetic.
    """
    mask = (1 << 31) - 1
    mixed = ((numbers ^ (numbers >> 16)) * 0x45D9F3B) & mask
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & mask
    return mixed ^ (mixed >> 16)


def cut_bands(
    samples: Entries, triggers: Entries, window_histogram: npt.NDArray[np.int64], first_key: int
) -> tuple[Entries, npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Sort samples of one layer and language into bands.

    Args:
        samples: the samples kept in every list.
        triggers: the keys' triggers; a place among them is in a decile only where that would be short otherwise.
        window_histogram: [keys, N_BINS], number of windows by the bin of their largest coefficient.
        first_key: number of the layer's first key.

    Returns:
        The samples in a band, sorted by key, band and falling coefficient, at most `PER_DECILE` or `PER_BAND` per band and
        one per file; the index of each one's band in `BANDS`; its quantile among the windows the key fires in.
    """
    bands = np.select(
        [samples.group == RANDOM, samples.group == SILENT],
        [BANDS.index("random"), BANDS.index("silent")],
        default=_deciles(samples),
    ).astype(np.int8)
    second = (samples.group >= FIRST_FIRING) & _listed(samples, triggers)

    # lexsort compares by its last key first. One sample per file and band, the one to be preferred …
    order = np.lexsort((-samples.score, second, samples.file, bands, samples.key))
    order = order[first_of(samples.key[order], bands[order], samples.file[order])]
    # … then per band the few of highest priority, a random choice, before they are sorted by coefficient for reading
    order = order[np.lexsort((-samples.score[order], second[order], bands[order], samples.key[order]))]
    most = np.where(bands[order] < len(DECILES), PER_DECILE, PER_BAND)
    order = order[rank_in(samples.key[order], bands[order]) < most]
    order = order[np.lexsort((samples.file[order], -samples.value[order], bands[order], samples.key[order]))]
    kept = samples.take(order)
    return kept, bands[order], _quantiles(kept.key - first_key, kept.value, window_histogram).astype(np.float32)


def _deciles(samples: Entries) -> npt.NDArray[np.int64]:
    """The decile of each sample among those of its key in which the key fires, by rank, from 0; 0 for the others."""
    deciles = np.zeros(len(samples.key), dtype=np.int64)
    firing = np.flatnonzero(samples.group >= FIRST_FIRING)
    firing = firing[np.lexsort((samples.file[firing], samples.value[firing], samples.key[firing]))]
    key = samples.key[firing]
    _, which, n = np.unique(key, return_inverse=True, return_counts=True)
    deciles[firing] = rank_in(key) * len(DECILES) // n[which]
    return deciles


def _listed(samples: Entries, triggers: Entries) -> npt.NDArray[np.bool_]:
    """Whether each sample is one of its key's triggers."""
    both = [
        np.concatenate([getattr(entries, name) for entries in (samples, triggers)])
        for name in ("key", "file", "position")
    ]
    order = np.lexsort(both)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(first_of(*(column[order] for column in both)))
    return np.isin(place[: len(samples.key)], place[len(samples.key) :])


def _quantiles(
    keys: npt.NDArray[np.int64], values: npt.NDArray[np.float32], histogram: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Share of the windows a key fires in with a smaller largest coefficient, interpolated linearly within a bin."""
    firing = histogram[:, bins.HALF :]
    below = np.cumsum(firing, axis=1) - firing
    total = np.maximum(firing.sum(axis=1), 1)
    edges = _EDGES[bins.HALF :]
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins.HALF - 1)
    # the outermost bin has no upper edge: treat it as one octave
    low, high = edges[place], np.where(np.isinf(edges[place + 1]), 2 * edges[place], edges[place + 1])
    inside = np.clip((values - low) / (high - low), 0, 1)
    quantiles: npt.NDArray[np.float64] = (below[keys, place] + inside * firing[keys, place]) / total[keys]
    return np.where(values > 0, quantiles, 0.0)
