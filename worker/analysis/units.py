"""The units that figures are resampled and split by: projects, whose files resemble each other more than other code."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.token_store import TokenStore

PICK, TUNE, TEST = 0, 1, 2
"""Parts of a corpus: keys are picked on the first, doses on the second, and everything reported is measured on the third."""
PARTS = (PICK, TUNE, TEST)
SHARES = (0.4, 0.2, 0.4)
"""Share of a language's tokens that each part should have."""
FEWEST_TO_SPLIT = 3
"""A language with fewer projects is split by file: no part may be empty."""

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Members:
    """The units that the rows of an array belong to: one row a file, or one row a thing in a file."""

    of_row: IntArray
    """[rows], which of the units below each row belongs to."""
    are_projects: BoolArray
    """[units], whether each unit is a project; else it is a file."""

    def sums(self, values: npt.NDArray[Any]) -> FloatArray:
        """Sums by unit, [rows, …] → [units, …]."""
        if not len(values):
            return np.zeros((0, *values.shape[1:]))
        order = np.argsort(self.of_row, kind="stable")
        starts = np.searchsorted(self.of_row[order], np.arange(len(self.are_projects)))
        return np.asarray(np.add.reduceat(values[order], starts), dtype=np.float64)


@dataclass(frozen=True)
class Units:
    """The units of a corpus and the parts they are in; a unit has files of one language only."""

    of_file: IntArray
    """[files], the number of each file's unit: its project, or the file itself where a language has too few projects."""
    parts: IntArray
    """[units], PICK, TUNE or TEST."""
    are_projects: BoolArray
    """[units], whether each is a project; else it is a file."""

    def members(self, files: IntArray | None = None) -> Members:
        """The units of some files, which may be named more than once; of all files if none are named."""
        of_row = self.of_file if files is None else self.of_file[files]
        found, numbers = np.unique(of_row, return_inverse=True)
        return Members(numbers, self.are_projects[found])

    def languages(self, store: TokenStore) -> IntArray:
        """The language of each unit, [units]."""
        found = np.zeros(len(self.parts), dtype=np.int64)
        found[self.of_file] = store.languages
        return found

    @cached_property
    def pick(self) -> BoolArray:
        """[files], those that keys are picked on."""
        return self._files(PICK)

    @cached_property
    def tune(self) -> BoolArray:
        """[files], those that doses are chosen on."""
        return self._files(TUNE)

    @cached_property
    def test(self) -> BoolArray:
        """[files], those that figures are reported on."""
        return self._files(TEST)

    @cached_property
    def part_of_files(self) -> IntArray:
        """[files], the part each is in."""
        found: IntArray = self.parts[self.of_file]
        return found

    def _files(self, part: int) -> BoolArray:
        found: BoolArray = self.part_of_files == part
        return found


def units_of(store: TokenStore) -> Units:
    """Find the units of a corpus and split each language's among the parts.

    Units are taken in an order that depends on their names or contents alone, so all analyses agree on the parts, and
    each goes where most tokens are missing. The first three go to three different parts.
    """
    of_file = np.zeros(store.n_files, dtype=np.int64)
    parts: list[int] = []
    are_projects: list[bool] = []
    for code, language in enumerate(store.language_names):
        files = np.flatnonzero(store.languages == code)
        names, numbers = np.unique(store.projects[files], return_inverse=True)
        enough = len(names) >= FEWEST_TO_SPLIT
        if enough:
            ranks = np.array([_rank(f"{language}\n{store.project_names[name]}") for name in names], dtype=np.uint64)
        else:
            numbers, ranks = np.arange(len(files)), store.seeds[files]
        sizes = np.bincount(numbers, weights=store.lengths[files], minlength=len(ranks))
        of_file[files] = len(parts) + numbers
        parts += _parts(sizes, ranks)
        are_projects += [enough] * len(ranks)
    return Units(of_file, np.array(parts, dtype=np.int64), np.array(are_projects, dtype=np.bool_))


def _rank(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)


def _parts(sizes: npt.NDArray[Any], ranks: npt.NDArray[np.uint64]) -> list[int]:
    """The part of each unit, [units]."""
    wanted = np.array(SHARES) * sizes.sum()
    parts = np.zeros(len(sizes), dtype=np.int64)
    for place, unit in enumerate(np.argsort(ranks, kind="stable")):
        parts[unit] = (PICK, TEST, TUNE)[place] if place < len(SHARES) else np.argmax(wanted)
        wanted[parts[unit]] -= sizes[unit]
    return [int(part) for part in parts]
