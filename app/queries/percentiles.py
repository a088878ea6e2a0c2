"""How rare a coefficient of a key is in the corpus."""

import math
from collections.abc import Mapping, Sequence

import duckdb
import numpy as np

from keyscope.app.queries.values import rows
from keyscope.contract import bins
from keyscope.contract.keys import KeyId

_EDGES = np.array(bins.edges())
_COUNTS = """
    SELECT layer, "index", sum(list_sum(tokens[1:bin]))::DOUBLE, sum(tokens[bin + 1])::DOUBLE, sum(list_sum(tokens))::DOUBLE
    FROM histograms
    JOIN (SELECT unnest($1)::USMALLINT AS layer, unnest($2)::UINTEGER AS "index", unnest($3) AS bin) USING (layer, "index")
    GROUP BY ALL"""
"""Per key: the counts of the bins before the given one, its own and all."""


def percentiles(cursor: duckdb.DuckDBPyConnection, coefficients: Mapping[KeyId, float]) -> dict[KeyId, float]:
    """Share of the corpus's sampled tokens, in %, at which the key has a smaller coefficient.

    Read from the key's histograms over all languages, linear inside a bin; keys without histograms are left out.
    They have to be of the run's own stack.
    """
    if not coefficients:
        return {}
    places = dict(zip(coefficients, _places(list(coefficients.values())), strict=True))
    asked = [[key.layer for key in places], [key.index for key in places], list(places.values())]
    found = {}
    names = {(key.layer, key.index): key for key in places}
    for layer, index, below, inside, total in rows(cursor, _COUNTS, asked):
        key = names[layer, index]
        if total:
            share = _share_of_bin(places[key], coefficients[key])
            found[key] = 100 * ((below or 0.0) + share * inside) / total
    return found


def _places(coefficients: list[float]) -> list[int]:
    """The bin of each coefficient."""
    places = np.searchsorted(_EDGES, coefficients, side="right") - 1
    return [int(place) for place in places.clip(0, bins.N_BINS - 1)]


def _share_of_bin(place: int, coefficient: float) -> float:
    """How much of its bin lies below a coefficient; half in an open-ended bin."""
    low, high = _EDGES[place], _EDGES[place + 1]
    return float((coefficient - low) / (high - low)) if np.isfinite(high - low) else 0.5


def quantile_above_zero(counts: Sequence[int], share: float) -> float:
    """The coefficient below which a share of those above 0 lies, of counts in the contract's bins; 0 if there are none.

    Linear inside a bin; in the open-ended one its lower edge.
    """
    edges = _EDGES[bins.HALF :].tolist()
    above = counts[bins.HALF :]
    wanted = share * sum(above)
    below = 0
    for low, high, count in zip(edges, edges[1:], above, strict=False):
        if count and below + count >= wanted:
            return float(low + (wanted - below) / count * (high - low)) if math.isfinite(high) else float(low)
        below += count
    return 0.0
