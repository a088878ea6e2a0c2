"""Blocks of files: each is counted by a step of its own, and a draw of files takes it once, several times or not at all."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Results, Step
from keyscope.worker.analysis.bootstrap import FEWEST_FILES
from keyscope.worker.analysis.draws import drawn_within
from keyscope.worker.analysis.subject import Subject

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BLOCKS = 48
"""About how many blocks there are, for each keeps counts of every key on disk."""
LEAST = 8
"""Blocks that a language has at least, if it has as many files."""
_CELLS = 1 << 22
"""Numbers that are drawn at a time, over all draws."""


def block_steps(subject: Subject) -> list[Step]:
    """All files, dealt to blocks of one language by their content alone; of few files each is a block by itself."""
    store = subject.store
    each = max(LEAST, BLOCKS // len(store.language_names))
    steps: list[Step] = []
    for language in range(len(store.language_names)):
        files = np.flatnonzero(store.languages == language)
        dealt = files[np.argsort(store.seeds[files], kind="stable")]
        for number in range(min(each, len(files))):
            chosen = np.sort(dealt[number::each])
            tokens = int(store.lengths[chosen].sum())
            steps.append(Step(f"files-{len(steps):05}", chosen.tolist(), tokens))
    return steps


class Blocks:
    """What was counted of every block, and how often each draw of files takes it."""

    def __init__(self, subject: Subject, done: Results, draws: int, seed: int) -> None:
        self._subject, self._done = subject, done
        self._steps = block_steps(subject)
        self.languages: IntArray = np.array([subject.store.languages[step.files[0]] for step in self._steps])
        self.times = drawn_within(self.languages, draws, seed)
        """[draws, blocks]: as many blocks of each language as there are."""

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def tell_languages(self) -> bool:
        """Whether there are several languages, and files of each to be drawn."""
        of_each = np.unique(self.languages, return_counts=True)[1]
        return len(of_each) > 1 and of_each.min() >= FEWEST_FILES

    @cached_property
    def of_file(self) -> IntArray:
        """The block of every file, [files]."""
        block = np.zeros(self._subject.store.n_files, dtype=np.int64)
        for number, step in enumerate(self._steps):
            block[np.asarray(step.files)] = number
        return block

    @cached_property
    def files(self) -> IntArray:
        """Files with any token, [blocks]."""
        return np.bincount(self.of_file[self._subject.store.lengths > 0], minlength=len(self))

    @cached_property
    def tokens(self) -> IntArray:
        """Tokens, [blocks]."""
        return np.array([step.tokens for step in self._steps])

    @cached_property
    def occurrences(self) -> npt.NDArray[np.uint32]:
        """Of every token in each block, [blocks, vocabulary]."""
        store, vocabulary = self._subject.store, self._subject.model.facts.vocabulary
        counts = np.zeros((len(self), vocabulary), dtype=np.uint32)
        for block, step in enumerate(self._steps):
            ids = np.concatenate([store.token_ids[store.tokens_of(file)] for file in step.files])
            counts[block] = np.bincount(ids, minlength=vocabulary)[:vocabulary]
        return counts

    def counted(self, name: str) -> npt.NDArray[Any]:
        """What the pass counted under a name, [blocks, …]."""
        return np.stack([self._done[step.name][name] for step in self._steps])

    def draw(self, counts: npt.ArrayLike) -> FloatArray:
        """Sums over the files of each draw, [blocks, …] → [draws, …]."""
        return np.asarray(np.tensordot(self.times, np.asarray(counts, np.float64), 1))

    def draw_languages(self, counts: npt.ArrayLike, draws: slice = slice(None)) -> FloatArray:
        """The same for each language by itself, and for some draws, [blocks, …] → [draws, languages, …]."""
        array = np.asarray(counts, np.float64)
        drawn = []
        for language in np.unique(self.languages):
            of = self.languages == language
            drawn.append(np.tensordot(self.times[draws, of], array[of], 1))
        return np.stack(drawn, axis=1)

    def parts(self, keys: int, cells: int) -> Iterator[slice]:
        """Keys to be drawn at a time, where each has so many cells in every draw."""
        size = max(1, _CELLS // (len(self.times) * cells))
        for start in range(0, keys, size):
            yield slice(start, min(start + size, keys))
