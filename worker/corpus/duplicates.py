"""Groups files that are nearly the same, by MinHash over their words."""

import re
import zlib
from operator import index
from typing import cast

import numpy as np
from datasketch import LeanMinHash, MinHash, MinHashLSH

THRESHOLD = 0.85
"""Jaccard similarity of two files' word shingles from which they are near duplicates."""
SHINGLE = 5
"""Words in a row that make one shingle."""
PERMUTATIONS = 128
BANDS = (16, 8)
"""Bands and hashes a band: of the pairs at the threshold, 99.4 % share a band and are compared."""

_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s++|//[^\n]*+|#[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
_WORD = re.compile(rb"[0-9A-Za-z_\x80-\xff]+")
_FACTORS = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, SHINGLE + 1)], dtype=np.uint64)
_BATCH = 4096


class Clusters:
    """Files grouped so that near duplicates share a group, also through others between them.

    Only the first file of its kind is kept in the index: a file that resembles one in there joins its group instead, so
    a thousand variants of one template cost a thousand comparisons rather than a million.
    """

    def __init__(self) -> None:
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
        self._sketches: dict[int, LeanMinHash] = {}
        self._parent: list[int] = []
        self._groups = 0

    def __len__(self) -> int:
        """Groups there are."""
        return self._groups

    def add(self, data: bytes) -> None:
        """Put the next file into a group; it may join two groups into one."""
        file = len(self._parent)
        self._parent.append(file)
        self._groups += 1
        shingles = word_shingles(data)
        if not shingles.size:
            return
        sketch = _sketch(shingles)
        near = [other for other in self._index.query(sketch) if self._similar(other, sketch)]
        for other in near:
            self._join(other, file)
        if not near:
            self._index.insert(file, sketch, check_duplication=False)
            self._sketches[file] = sketch

    def group_of(self, file: int) -> int:
        """A number that all files of a group share; files are counted from 0 in the order they were added."""
        while self._parent[file] != file:
            self._parent[file] = file = self._parent[self._parent[file]]
        return file

    def _similar(self, other: int, sketch: LeanMinHash) -> bool:
        return cast(float, self._sketches[other].jaccard(sketch)) >= THRESHOLD

    def _join(self, one: int, other: int) -> None:
        one, other = self.group_of(one), self.group_of(other)
        if one != other:
            self._parent[other] = one
            self._groups -= 1


def word_shingles(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """Hashes of every `SHINGLE` words in a row, each once: `[n]`, n = 0 for a file without words.

    Comments above the code are not counted, or short files under one long licence would all be alike. A file of fewer
    words is one shingle. A shingle's hash is a polynomial in the checksums of its words.
    """
    header = _HEADER.match(data)
    found = _WORD.findall(data, header.end() if header else 0) or _WORD.findall(data)
    words = np.fromiter(map(zlib.crc32, found), dtype=np.uint64)
    width = min(SHINGLE, len(words))
    if width == 0:
        return np.empty(0, dtype=np.uint32)
    rows = np.lib.stride_tricks.sliding_window_view(words, width)
    sums = (rows * _FACTORS[:width]).sum(axis=1, dtype=np.uint64)
    return np.unique(sums >> np.uint64(32)).astype(np.uint32)


def _sketch(shingles: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> LeanMinHash:
    sketch = _EMPTY.copy()
    for start in range(0, len(shingles), _BATCH):  # a batch takes its size times PERMUTATIONS of memory
        sketch.update_batch(shingles[start : start + _BATCH].tolist())
    return LeanMinHash(sketch)


_EMPTY = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=index)
