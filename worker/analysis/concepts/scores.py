"""How well keys separate a concept's tokens from others, from counts at a few levels; and the pickers' orders."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.windows import mix

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Numbers of tokens above every level of every key."""

    of_concept: IntArray
    """[levels, keys], tokens of the concept; levels ascend, so counts fall."""
    of_all: IntArray
    """[levels, keys], all tokens."""
    concept_tokens: int
    tokens: int


def auroc(counts: Counts) -> FloatArray:
    """Area under each key's ROC curve through its levels, [keys]; NaN if all tokens or none belong to the concept.

    The trapezoid rule is the Mann-Whitney statistic with ties counted half (Hanley and McNeil 1982), tokens between two
    levels being ties. More levels would change the area only by how tokens within a bin are ordered.
    """
    others = counts.tokens - counts.concept_tokens
    if not counts.concept_tokens or not others:
        return np.full(counts.of_all.shape[1], np.nan)
    true = _curve(counts.of_concept / counts.concept_tokens)
    false = _curve((counts.of_all - counts.of_concept) / others)
    area: FloatArray = ((true[:-1] + true[1:]) / 2 * (false[:-1] - false[1:])).sum(axis=0)
    return area


def detection(counts: Counts, level: int) -> dict[str, npt.NDArray[np.generic]]:
    """Precision, recall, lift, F1 and log odds of firing above one level, each [keys]; NaN where undefined."""
    both, strong = counts.of_concept[level].astype(np.float64), counts.of_all[level].astype(np.float64)
    precision, recall = _over(both, strong), _over(both, np.float64(counts.concept_tokens))
    share = counts.concept_tokens / counts.tokens if counts.tokens else 0.0
    return {
        "strong": counts.of_all[level],
        "strong_on_concept": counts.of_concept[level],
        "precision": precision,
        "recall": recall,
        "lift": _over(precision, np.float64(share)),
        "f1": _over(2 * both, strong + counts.concept_tokens),
        "log_odds_z": _log_odds_z(both, strong, counts.concept_tokens, counts.tokens),
    }


def lots(n_keys: int, seed: int) -> npt.NDArray[np.uint64]:
    """A random number for every key, to break ties, [keys].

    Ties broken by index would favour the lower layers.
    """
    return mix(np.arange(n_keys, dtype=np.uint64) + np.uint64(seed + 1) * np.uint64(0x1_0000_0000))


def rank(scores: FloatArray, eligible: npt.NDArray[np.bool_], lot: npt.NDArray[np.uint64]) -> FloatArray:
    """Ranks from 1 by descending score, ties by lot, [keys]; NaN for keys that are not eligible."""
    places = np.full(len(scores), np.nan)
    chosen = np.flatnonzero(eligible & ~np.isnan(scores))
    order = chosen[np.lexsort((lot[chosen], -scores[chosen]))]
    places[order] = np.arange(1, len(order) + 1)
    return places


def _curve(shares: FloatArray) -> FloatArray:
    """Shares above the levels, completed by 1 (below all) and 0 (above all), [levels + 2, keys]."""
    ends = np.ones((1, shares.shape[1]))
    return np.concatenate([ends, shares, 0 * ends])


def _over(above: FloatArray, below: FloatArray | np.float64) -> FloatArray:
    ratio: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
    return ratio


def _log_odds_z(both: FloatArray, strong: FloatArray, concept_tokens: int, tokens: int) -> FloatArray:
    """The log odds ratio over its standard error, [keys].

    A half is added to every cell (Haldane 1956, Anscombe 1956): without it one empty cell makes the ratio infinite.
    """
    cells = (
        both + 0.5,
        strong - both + 0.5,
        concept_tokens - both + 0.5,
        tokens - concept_tokens - strong + both + 0.5,
    )
    odds = np.log(cells[0]) - np.log(cells[1]) - np.log(cells[2]) + np.log(cells[3])
    z: FloatArray = odds / np.sqrt(sum(1 / cell for cell in cells))
    return z
