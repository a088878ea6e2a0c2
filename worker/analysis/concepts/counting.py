"""Counts of tokens of concepts on which keys fire, above each of their levels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.concepts.places import Places, is_next, token_table
from keyscope.worker.analysis.features import FeatureCounts
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import LayerRead, Reader, ReadLayer
from keyscope.worker.analysis.walk import Places as TokenPlaces
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Batch

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class StrengthCounts(Reader):
    """Counts over the files of one step, all in one language."""

    def __init__(
        self, subject: Subject, places: Places, n_concepts: int, levels: Sequence[Sequence[npt.ArrayLike]]
    ) -> None:
        """Start at zero.

        Args:
            subject: the run.
            places: the places of the concepts and their copies.
            n_concepts: number of concepts, and of copies.
            levels: for each level, for each layer, the level of every key.
        """
        self._subject, self._places, self._n = subject, places, n_concepts
        self._counts = FeatureCounts(subject.model, 3 * n_concepts, levels)
        self._folded = subject.manifest.model.gated

    def begin(self, files: Sequence[int]) -> None:
        store = self._subject.store
        tables = [self._marks(store, file) for file in files]
        self._files = np.array(files)
        self._firsts = np.cumsum([0, *(len(table) for table in tables[:-1])])
        self._table = np.concatenate(tables)

    def batch(self, batch: Batch, at: TokenPlaces) -> ReadLayer:
        first = self._firsts[np.searchsorted(self._files, at.files)]
        marked = self._table[first + at.numbers - self._subject.store.offsets[at.files]]
        features = torch.from_numpy(marked).float().to(self._subject.model.device)

        def read(found: LayerRead) -> None:
            strength = found.counted.abs() if self._folded else found.counted
            self._counts.add(found.layer, strength, features)

        return read

    def _marks(self, store: TokenStore, file: int) -> BoolArray:
        inside = token_table(store, self._places, 2 * self._n, range(file, file + 1))
        return np.concatenate([inside, is_next(store, inside[:, : self._n], file)], axis=1)

    def arrays(self) -> Arrays:
        """`counts` [levels, keys, features]: concepts, their copies, tokens before concepts, and all tokens last."""
        return {"counts": self._counts.arrays().astype(np.int32)}
