"""Cutting ten groups by decile, a random band and a silent band from a key's samples."""

import numpy as np
import numpy.typing as npt

from keyscope.contract import bins
from keyscope.worker.precompute.entries import Entries, first_of, rank_in
from keyscope.worker.precompute.sampling import FIRST_FIRING, RANDOM, SILENT

DECILES = tuple(f"{low}-{low + 10}" for low in range(0, 100, 10))
BANDS = (*DECILES, "random", "silent")
PER_DECILE = 5
PER_BAND = 8
"""Samples stored of the random and of the silent band."""
_EDGES = np.array(bins.edges())


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

    def places(entries: Entries) -> npt.NDArray[np.void]:
        return np.rec.fromarrays([entries.key, entries.file, entries.position])

    return np.isin(places(samples), places(triggers))


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
