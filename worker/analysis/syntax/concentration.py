"""How concentrated keys' triggers are on few tokens, with weights for their files."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
COVERED = 0.95
"""Share of the triggers to cover."""


class Groups:
    """Codes of examples grouped by key: which codes a key has, and how often each.

    Grouping is the expensive part and does not depend on weights, so the hundreds of bootstrap draws share it and only
    recompute the masses.
    """

    def __init__(self, key: IntArray, code: IntArray, keys: int) -> None:
        """Group examples.

        Args:
            key: [examples], 0 to `keys` - 1.
            code: [examples], what is counted.
            keys: number of keys.
        """
        pairs, pair = np.unique(np.stack([key, code]), axis=1, return_inverse=True)
        self.keys = keys
        self.pair = pair.ravel()
        """[examples], index of each one's pair of key and code."""
        self.key, self.code = pairs[0], pairs[1]
        """[pairs], by key and code."""
        self._starts = np.flatnonzero(np.diff(self.key, prepend=-1))

    def masses(self, weights: FloatArray | None = None) -> FloatArray:
        """Weight of each pair, [pairs]; without weights its number of examples."""
        return np.bincount(self.pair, weights, len(self.key)).astype(np.float64)

    def totals(self, masses: FloatArray) -> FloatArray:
        """Weight of each key, [keys]."""
        return np.asarray(np.bincount(self.key, masses, self.keys), dtype=np.float64)

    def top_share(self, masses: FloatArray) -> FloatArray:
        """Share of each key's commonest code, [keys]; NaN for a key without weight."""
        best = np.full(self.keys, np.nan)
        if len(self.key):
            best[self.key[self._starts]] = np.maximum.reduceat(masses, self._starts)
        return _over(best, self.totals(masses))

    def top_code(self) -> IntArray:
        """Each key's commonest code, [keys]; ties go to the smaller code, -1 if it has none."""
        order = np.lexsort((self.code, -self.masses(), self.key))
        top = np.full(self.keys, -1, dtype=np.int64)
        top[self.key[self._starts]] = self.code[order][self._starts]
        return top

    def entropy(self, masses: FloatArray) -> FloatArray:
        """Entropy of each key's codes in nats, [keys]; NaN for a key without weight."""
        totals = self.totals(masses)
        share = _over(masses, totals[self.key])
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(share > 0, share * np.log(share), 0.0)
        return np.where(totals > 0, 0.0 - np.bincount(self.key, parts, self.keys), np.nan)

    def to_cover(self, share: float = COVERED) -> IntArray:
        """Fewest codes that cover this share of a key's examples, [keys]; 0 if it has none."""
        masses = self.masses()
        order = np.lexsort((-masses, self.key))
        sums = np.cumsum(masses[order])
        totals = self.totals(masses)
        before = np.concatenate([[0.0], np.cumsum(totals)])[:-1]
        # a code is needed if the commoner ones do not reach the share; 1e-9 absorbs rounding where they just do
        ahead = sums - masses[order] - before[self.key]
        return np.bincount(self.key[ahead < share * totals[self.key] - 1e-9], minlength=self.keys)


def ngrams(token_ids: npt.NDArray[np.int32], token: IntArray, first: IntArray, n: int, vocabulary: int) -> IntArray:
    """Code the `n` tokens up to and including each example as one number; tokens before the window count as none.

    Args:
        token_ids: token ids of the whole corpus.
        token: [examples], numbers of tokens.
        first: [examples], number of the first token of each one's window.
        n: 1 to 3: (vocabulary + 1) ** 3 still fits in 64 bits.
        vocabulary: number of token ids.
    """
    code = np.zeros(len(token), dtype=np.int64)
    for back in range(n - 1, -1, -1):
        at = token - back
        found = token_ids[np.maximum(at, 0)].astype(np.int64) + 1
        code = code * (vocabulary + 1) + np.where(at >= first, found, 0)
    return code


def _over(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
