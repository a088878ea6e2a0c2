"""How rare a coefficient of a key is in the corpus."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from keyscope.app.queries.keys import histograms
from keyscope.contract import bins
from keyscope.contract.keys import KeyId

_EDGES = bins.edges()


def percentiles(cursor: duckdb.DuckDBPyConnection, coefficients: Mapping[KeyId, float]) -> dict[KeyId, float]:
    """Share of the corpus's sampled tokens, in %, at which the key has a smaller coefficient.

    Read from the key's histograms over all languages, linear inside a bin; keys without histograms are left out. Each key
    takes one narrow scan, because keys are far apart in the file.
    """
    found = {}
    for key, coefficient in coefficients.items():
        counts = np.sum([each.tokens for each in histograms(cursor, key)], axis=0)
        if np.any(counts):
            found[key] = percentile(counts, coefficient)
    return found


def percentile(counts: Sequence[int], coefficient: float) -> float:
    """Share of the counts in the contract's bins, in %, that are below a coefficient."""
    place = min(max(int(np.searchsorted(_EDGES, coefficient, side="right")) - 1, 0), bins.N_BINS - 1)
    low, high = _EDGES[place], _EDGES[place + 1]
    inside = (coefficient - low) / (high - low) if np.isfinite(high - low) else 0.5
    below = float(np.sum(counts[:place]))
    return 100 * (below + inside * float(counts[place])) / float(np.sum(counts))
