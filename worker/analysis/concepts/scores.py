"""How well keys tell a concept's tokens from others, from counts at a few levels; and the order each picker puts them in."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.windows import mix

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Tokens above every level of every key."""

    of_concept: IntArray
    """[levels, keys]; levels ascending in how few tokens are above them."""
    of_all: IntArray
    """[levels, keys]"""
    concept_tokens: int
    tokens: int


def auroc(counts: Counts) -> FloatArray:
    """The area under each key's ROC through its levels, [keys]; tokens between two levels are ties, which count half.

    NaN where all tokens or none are of the concept.
    """
    others = counts.tokens - counts.concept_tokens
    if not counts.concept_tokens or not others:
        return np.full(counts.of_all.shape[1], np.nan)
    true = _curve(counts.of_concept / counts.concept_tokens)
    false = _curve((counts.of_all - counts.of_concept) / others)
    area: FloatArray = ((true[:-1] + true[1:]) / 2 * (false[:-1] - false[1:])).sum(axis=0)
    return area


def detection(counts: Counts, level: int) -> dict[str, npt.NDArray[np.generic]]:
    """Precision, recall, lift, F1 and log odds of being above one level, each [keys]; NaN where it is not defined."""
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
    """A number for every key, by which those that are alike otherwise are put in order, [keys]."""
    return mix(np.arange(n_keys, dtype=np.uint64) + np.uint64(seed + 1) * np.uint64(0x1_0000_0000))


def rank(scores: FloatArray, eligible: npt.NDArray[np.bool_], lot: npt.NDArray[np.uint64]) -> FloatArray:
    """Places from 1 by falling score, equal ones by lot, [keys]; NaN for keys that are not eligible."""
    places = np.full(len(scores), np.nan)
    chosen = np.flatnonzero(eligible & ~np.isnan(scores))
    order = chosen[np.lexsort((lot[chosen], -scores[chosen]))]
    places[order] = np.arange(1, len(order) + 1)
    return places


def _curve(shares: FloatArray) -> FloatArray:
    """Shares above the levels, from all tokens down to none, [levels + 2, keys]."""
    ends = np.ones((1, shares.shape[1]))
    return np.concatenate([ends, shares, 0 * ends])


def _over(above: FloatArray, below: FloatArray | np.float64) -> FloatArray:
    ratio: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
    return ratio


def _log_odds_z(both: FloatArray, strong: FloatArray, concept_tokens: int, tokens: int) -> FloatArray:
    """The log odds ratio over its standard error, a half added to every cell (Haldane and Anscombe)."""
    cells = (
        both + 0.5,
        strong - both + 0.5,
        concept_tokens - both + 0.5,
        tokens - concept_tokens - strong + both + 0.5,
    )
    odds = np.log(cells[0]) - np.log(cells[1]) - np.log(cells[2]) + np.log(cells[3])
    z: FloatArray = odds / np.sqrt(sum(1 / cell for cell in cells))
    return z
