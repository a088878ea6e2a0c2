"""The corpus that the counts are of, and the counts over all of it."""

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
    """Counts over the whole corpus; keys of all layers together."""

    positions: IntArray
    """[2 levels, keys, 2 * buckets], by bucket and by shifted bucket."""
    in_bucket: IntArray
    """[2 * buckets], tokens."""
    totals: IntArray
    """[languages, levels, keys], tokens on which each key fires."""
    tokens: IntArray
    """[levels, keys, candidates], those of them on each candidate."""
    means: IntArray
    """[languages, 2, keys, bins], files of each half by the bin of the key's mean."""
    rates: FloatArray
    """[languages, 2, keys], rates of firing strongly summed over files, and their squares."""
    files: IntArray
    file_tokens: IntArray
    """[files]"""
    file_fires: IntArray
    """[files, layers], firing keys summed over tokens."""


@dataclass(frozen=True)
class Corpus:
    """What the counts are of."""

    subject: Subject
    levels: Levels
    candidates: list[IntArray]

    @property
    def names(self) -> tuple[str, ...]:
        """The languages."""
        return self.subject.store.language_names

    @cached_property
    def occurrences(self) -> IntArray:
        """Of every token in the corpus, [vocabulary]."""
        return self.subject.store.token_counts(self.subject.model.facts.vocabulary)

    @cached_property
    def files(self) -> IntArray:
        """How many files with any token each language has, [languages]."""
        some = self.subject.store.lengths > 0
        return np.bincount(self.subject.store.languages[some], minlength=len(self.names))

    @cached_property
    def tokens(self) -> IntArray:
        """How many tokens each language has, [languages]."""
        store = self.subject.store
        return np.bincount(store.languages, store.lengths, minlength=len(self.names)).astype(np.int64)
