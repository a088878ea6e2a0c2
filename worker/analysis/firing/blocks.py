"""Blocks of projects, the units the bootstrap draws: each is counted by a step of its own.

Counts of every key by token, position and file mean are far too large to keep for single projects, so projects are dealt
at random to a few blocks and blocks are drawn in their place. Each block is a random sample of the projects, so the
spread between sums of blocks is the spread between sums of projects.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Results
from keyscope.worker.analysis.blocks import block_steps
from keyscope.worker.analysis.draws import drawn_within
from keyscope.worker.analysis.intervals import FEWEST_UNITS
from keyscope.worker.analysis.subject import Subject

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_CELLS = 1 << 22
"""Numbers held at a time over all draws, which bounds memory."""


class Blocks:
    """The counts of every block, and how often each draw takes it."""

    def __init__(self, subject: Subject, done: Results, draws: int, seed: int) -> None:
        self._subject, self._done = subject, done
        self._steps = block_steps(subject)
        self.languages: IntArray = np.array([subject.store.languages[step.files[0]] for step in self._steps])
        held_out = subject.units.test[[step.files[0] for step in self._steps]]
        self.times = drawn_within(2 * self.languages + held_out, draws, seed)
        """[draws, blocks]; every draw has as many blocks of each language and part as the corpus."""

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def tell_languages(self) -> bool:
        """Whether there are several languages with enough blocks each to be drawn."""
        of_each = np.unique(self.languages, return_counts=True)[1]
        return len(of_each) > 1 and of_each.min() >= FEWEST_UNITS

    @cached_property
    def of_file(self) -> IntArray:
        """The block of every file, [files]."""
        block = np.zeros(self._subject.store.n_files, dtype=np.int64)
        for number, step in enumerate(self._steps):
            block[np.asarray(step.files)] = number
        return block

    @cached_property
    def files(self) -> IntArray:
        """Files with any token that counts in each block, [blocks]."""
        return np.bincount(self.of_file[self._subject.store.counted > 0], minlength=len(self))

    @cached_property
    def tokens(self) -> IntArray:
        """Tokens of each block, [blocks]."""
        return np.array([step.tokens for step in self._steps])

    @cached_property
    def occurrences(self) -> npt.NDArray[np.uint32]:
        """How often each token occurs in each block, [blocks, vocabulary]."""
        store, vocabulary = self._subject.store, self._subject.model.facts.vocabulary
        counts = np.zeros((len(self), vocabulary), dtype=np.uint32)
        for block, step in enumerate(self._steps):
            ids = np.concatenate([store.token_ids[store.tokens_of(file)] for file in step.files])
            counts[block] = np.bincount(ids, minlength=vocabulary)[:vocabulary]
        return counts

    def counted(self, name: str) -> npt.NDArray[Any]:
        """The counts kept under a name, [blocks, …]."""
        return np.stack([self._done[step.name][name] for step in self._steps])

    def draw(self, counts: npt.ArrayLike) -> FloatArray:
        """Sum over the blocks of each draw, [blocks, …] → [draws, …]."""
        return np.asarray(np.tensordot(self.times, np.asarray(counts, np.float64), 1))

    def draw_languages(self, counts: npt.ArrayLike, draws: slice = slice(None)) -> FloatArray:
        """The same for each language alone and for some of the draws, [blocks, …] → [draws, languages, …]."""
        array = np.asarray(counts, np.float64)
        drawn = []
        for language in np.unique(self.languages):
            of = self.languages == language
            drawn.append(np.tensordot(self.times[draws, of], array[of], 1))
        return np.stack(drawn, axis=1)

    def parts(self, keys: int, cells: int) -> Iterator[slice]:
        """Split keys into parts that fit in memory when each key has so many cells in every draw."""
        size = max(1, _CELLS // (len(self.times) * cells))
        for start in range(0, keys, size):
            yield slice(start, min(start + size, keys))
