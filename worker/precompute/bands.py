"""Cutting rank bands, a random band and a silent band from a key's samples."""

import numpy as np
import numpy.typing as npt

from keyscope.contract import bins
from keyscope.worker.precompute.entries import Entries, first_of, rank_in
from keyscope.worker.precompute.sampling import RANDOM_GROUPS

BANDS = ("0-50", "50-80", "80-95", "random", "silent")
PER_BAND = 8
_EDGES = np.array(bins.edges())
_NONE = -1


def cut_bands(
    samples: Entries, triggers: Entries, window_histogram: npt.NDArray[np.int64], first_key: int
) -> tuple[Entries, npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Sort samples of one layer and language into bands.

    Args:
        samples: the samples kept in every group.
        triggers: the keys' triggers; a place among them is in no rank band.
        window_histogram: [keys, N_BINS], number of windows by the bin of their largest coefficient.
        first_key: number of the layer's first key.

    Returns:
        The samples in a band, sorted by key, band and falling coefficient, at most `PER_BAND` per band and one per file;
        the index of each one's band in `BANDS`; its quantile among the windows the key fires in.
    """
    quantiles = _quantiles(samples.key - first_key, samples.value, window_histogram)
    bands = np.select(
        [samples.group < RANDOM_GROUPS, samples.value <= 0, quantiles < 0.5, quantiles < 0.8, quantiles < 0.95],
        [BANDS.index(band) for band in ("random", "silent", "0-50", "50-80", "80-95")],
        default=_NONE,
    ).astype(np.int8)
    ranked = bands < BANDS.index("random")
    bands[ranked & _listed(samples, triggers)] = _NONE

    # lexsort compares by its last key first. One sample per file and band, the one of highest priority …
    order = np.lexsort((-samples.score, samples.file, bands, samples.key))
    order = order[bands[order] != _NONE]
    order = order[first_of(samples.key[order], bands[order], samples.file[order])]
    # … then per band the few of highest priority, a random choice, before they are sorted by coefficient for reading
    order = order[np.lexsort((-samples.score[order], bands[order], samples.key[order]))]
    order = order[rank_in(samples.key[order], bands[order]) < PER_BAND]
    order = order[np.lexsort((samples.file[order], -samples.value[order], bands[order], samples.key[order]))]
    return samples.take(order), bands[order], quantiles[order].astype(np.float32)


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
