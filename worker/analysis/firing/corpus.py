"""The corpus that was counted, and the counts over all of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.firing.levels import Levels
from keyscope.worker.analysis.subject import Subject

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """Counts over the whole corpus; keys are numbered through all layers."""

    positions: IntArray
    """[2 levels, keys, 2 * buckets], tokens on which a key fires by bucket, then by shifted bucket."""
    in_bucket: IntArray
    """[2 * buckets], all tokens by bucket, then by shifted bucket."""
    totals: IntArray
    """[languages, levels, keys], tokens on which each key fires."""
    tokens: IntArray
    """[levels, keys, candidates], such tokens that are each candidate."""
    means: IntArray
    """[languages, 2, keys, bins], files of each half by the bin of the key's mean over the file."""
    rates: FloatArray
    """[languages, 2, keys], sums over files of the rate of firing strongly, and of its square."""
    files: IntArray
    file_tokens: IntArray
    """[files], tokens of each file in `files`."""
    file_fires: IntArray
    """[files, layers], number of firing keys summed over the file's tokens."""


@dataclass(frozen=True)
class Corpus:
    """What was counted: the run, its levels of firing and its candidate tokens."""

    subject: Subject
    levels: Levels
    candidates: list[IntArray]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the languages."""
        return self.subject.store.language_names

    @cached_property
    def occurrences(self) -> IntArray:
        """How often each token occurs in the corpus, [vocabulary]."""
        return self.subject.store.token_counts(self.subject.model.facts.vocabulary)

    @cached_property
    def files(self) -> IntArray:
        """Files with any token that counts, [languages]."""
        some = self.subject.store.counted > 0
        return np.bincount(self.subject.store.languages[some], minlength=len(self.names))

    @cached_property
    def tokens(self) -> IntArray:
        """Tokens that count, [languages]."""
        store = self.subject.store
        return np.bincount(store.languages, store.counted, minlength=len(self.names)).astype(np.int64)
