"""Controls: random places of the corpus instead of triggers, and places of other tokens instead of their own."""

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_ALIKE = 16
"""Tokens of similar frequency among which the control permutes."""


class Chance:
    """Draws places of a corpus, each in the language of the place it replaces; equal seeds give equal draws."""

    def __init__(self, store: TokenStore, cut: Cut, seed: int) -> None:
        self._store = store
        self._cut = cut
        self._seed = seed
        self._languages = range(len(store.language_names))
        self._numbers = [store.numbers(np.flatnonzero(store.languages == language)) for language in self._languages]
        self._tokens = [_sorted_tokens(store, numbers) for numbers in self._numbers]

    def random_tokens(self, language: IntArray, draw: int) -> tuple[IntArray, IntArray]:
        """A random token of the corpus for each example, and the first token of its window."""
        random = np.random.default_rng([self._seed, 0, draw])
        token, first = np.zeros(len(language), dtype=np.int64), np.zeros(len(language), dtype=np.int64)
        for each in self._languages:
            wanted = np.flatnonzero(language == each)
            if not len(wanted):
                continue
            found = self._numbers[each][random.integers(len(self._numbers[each]), size=len(wanted))]
            begin = self._store.offsets[np.searchsorted(self._store.offsets, found, side="right") - 1]
            token[wanted] = found
            first[wanted] = begin + self._cut.start(found - begin)
        return token, first

    def other_tokens(self, language: IntArray, token: IntArray, draw: int) -> IntArray:
        """A random place of another token for each example; equal tokens get the same one, about as common.

        This keeps how concentrated a key's triggers are on few tokens. Random places would not, and then every detector
        of a single token would look as if it knew that token's role.
        """
        random = np.random.default_rng([self._seed, 1, draw])
        found = token.copy()
        for each, (ids, starts, numbers) in enumerate(self._tokens):
            wanted = np.flatnonzero(language == each)
            if not len(wanted):
                continue
            counts = np.diff(np.append(starts, len(numbers)))
            dealt = _dealt(counts, random)
            other = dealt[np.searchsorted(ids, self._store.token_ids[token[wanted]])]
            place = (random.random(len(wanted)) * counts[other]).astype(np.int64)
            found[wanted] = numbers[starts[other] + place]
        return found


def _sorted_tokens(store: TokenStore, numbers: IntArray) -> tuple[npt.NDArray[np.int32], IntArray, IntArray]:
    """The distinct tokens at some places, where the places of each start in the third, and all places by token."""
    ids = store.token_ids[numbers]
    order = np.argsort(ids, kind="stable")
    different, starts = np.unique(ids[order], return_index=True)
    return different, starts.astype(np.int64), numbers[order]


def _dealt(counts: IntArray, random: np.random.Generator) -> IntArray:
    """Permute tokens within blocks of similar frequency; a token may be dealt itself."""
    ranked = np.lexsort((random.random(len(counts)), -counts))
    block = np.arange(len(counts)) // _ALIKE
    shuffled = ranked[np.lexsort((random.random(len(counts)), block))]
    dealt = np.empty(len(counts), dtype=np.int64)
    dealt[ranked] = shuffled
    return dealt
