"""Each key's own levels: quantiles of its coefficient, from the run's histograms."""

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract import bins
from keyscope.contract.manifest import Manifest

FloatArray = npt.NDArray[np.float32]
SHARES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares of tokens above the levels used to score keys; coefficients between two levels count as ties.

    Dense at the top, where keys differ: a full ranking of all coefficients would take a sort of the whole corpus per
    key.
    """

_HISTOGRAMS = 'SELECT "index", tokens FROM histograms WHERE layer = ? ORDER BY "index"'


def key_levels(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, shares: tuple[float, ...]
) -> list[FloatArray]:
    """For every layer the levels with those shares of the run's sampled tokens above them, [shares, keys].

    Tokens count as spread evenly within a bin. In a gated layer the sign of a coefficient carries no meaning, so the
    levels are of its absolute value.
    """
    return [
        _levels(_histograms(connection, layer, keys, manifest.model.gated), shares, manifest.model.gated)
        for layer, keys in enumerate(manifest.model.keys_per_layer)
    ]


def _histograms(connection: duckdb.DuckDBPyConnection, layer: int, keys: int, folded: bool) -> npt.NDArray[np.float64]:
    """Tokens of all languages per bin, [keys, bins]; `folded` adds the negative bins to the positive ones."""
    found = connection.cursor().execute(_HISTOGRAMS, [layer]).fetchnumpy()
    counts = np.zeros((keys, bins.N_BINS))
    if len(found["index"]):
        np.add.at(counts, np.asarray(found["index"], np.int64), np.stack(list(found["tokens"])).astype(np.float64))
    return counts[:, bins.HALF :] + counts[:, bins.HALF - 1 :: -1] if folded else counts


def _levels(counts: npt.NDArray[np.float64], shares: tuple[float, ...], folded: bool) -> FloatArray:
    """Levels with those shares of a histogram [keys, bins] above them, [shares, keys]; 0 for an empty histogram."""
    edges = np.array(bins.edges()[bins.HALF :] if folded else bins.edges())
    # the outermost bins are open, so nothing can be interpolated in them: their tokens count as at the inner edge
    edges[-1] = edges[-2]
    edges[0] = edges[0] if folded else edges[1]
    totals = counts.sum(axis=1)
    above = np.concatenate([np.cumsum(counts[:, ::-1], axis=1)[:, ::-1], np.zeros((len(counts), 1))], axis=1)
    rows = np.arange(len(counts))
    levels = np.zeros((len(shares), len(counts)), dtype=np.float32)
    for number, share in enumerate(shares):
        wanted = (share * totals)[:, None]
        at = np.minimum((above > wanted).sum(axis=1) - 1, counts.shape[1] - 1).clip(0)
        inside = counts[rows, at]
        part = np.divide(wanted[:, 0] - above[rows, at + 1], inside, out=np.zeros(len(rows)), where=inside > 0)
        levels[number] = edges[at + 1] - part * (edges[at + 1] - edges[at])
    levels[:, totals == 0] = 0.0
    return levels
