"""How concentrated the triggers of keys are on a few tokens, with weights for the files they are from."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
COVERED = 0.95


class Groups:
    """Codes of examples, grouped by the key that they are of: which codes a key has, and how often each."""

    def __init__(self, key: IntArray, code: IntArray, keys: int) -> None:
        """Group examples.

        Args:
            key: [examples], 0 to `keys` - 1.
            code: [examples], whatever is counted.
            keys: how many keys there are.
        """
        pairs, pair = np.unique(np.stack([key, code]), axis=1, return_inverse=True)
        self.keys = keys
        self.pair = pair.ravel()
        """[examples], the pair of key and code that each is."""
        self.key, self.code = pairs[0], pairs[1]
        """[pairs], by key and code."""
        self._starts = np.flatnonzero(np.diff(self.key, prepend=-1))

    def masses(self, weights: FloatArray | None = None) -> FloatArray:
        """Weight of each pair, [pairs]; without weights how many examples it has."""
        return np.bincount(self.pair, weights, len(self.key)).astype(np.float64)

    def totals(self, masses: FloatArray) -> FloatArray:
        """Weight of each key, [keys]."""
        return np.asarray(np.bincount(self.key, masses, self.keys), dtype=np.float64)

    def top_share(self, masses: FloatArray) -> FloatArray:
        """Share of the commonest code of each key, [keys]; NaN where a key has no weight."""
        best = np.full(self.keys, np.nan)
        if len(self.key):
            best[self.key[self._starts]] = np.maximum.reduceat(masses, self._starts)
        return _over(best, self.totals(masses))

    def top_code(self) -> IntArray:
        """The commonest code of each key, the smaller of equals, [keys]; -1 where it has none."""
        order = np.lexsort((self.code, -self.masses(), self.key))
        top = np.full(self.keys, -1, dtype=np.int64)
        top[self.key[self._starts]] = self.code[order][self._starts]
        return top

    def entropy(self, masses: FloatArray) -> FloatArray:
        """Entropy of the codes of each key in nats, [keys]; NaN where a key has no weight."""
        totals = self.totals(masses)
        share = _over(masses, totals[self.key])
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(share > 0, share * np.log(share), 0.0)
        return np.where(totals > 0, 0.0 - np.bincount(self.key, parts, self.keys), np.nan)

    def to_cover(self, share: float = COVERED) -> IntArray:
        """Fewest codes of each key that make this share of its examples, [keys]; 0 where it has none."""
        masses = self.masses()
        order = np.lexsort((-masses, self.key))
        sums = np.cumsum(masses[order])
        totals = self.totals(masses)
        before = np.concatenate([[0.0], np.cumsum(totals)])[:-1]
        # a code is needed where those ahead of it do not make the share yet
        ahead = sums - masses[order] - before[self.key]
        return np.bincount(self.key[ahead < share * totals[self.key] - 1e-9], minlength=self.keys)


def ngrams(token_ids: npt.NDArray[np.int32], token: IntArray, first: IntArray, n: int, vocabulary: int) -> IntArray:
    """A number for the `n` tokens that end at each of some tokens of a corpus; those before the window count as none.

    Args:
        token_ids: of the whole corpus.
        token: [examples], numbers of tokens.
        first: [examples], number of the first token of each one's window.
        n: 1 to 3.
        vocabulary: more than the largest token id.
    """
    code = np.zeros(len(token), dtype=np.int64)
    for back in range(n - 1, -1, -1):
        at = token - back
        found = token_ids[np.maximum(at, 0)].astype(np.int64) + 1
        code = code * (vocabulary + 1) + np.where(at >= first, found, 0)
    return code


def _over(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
