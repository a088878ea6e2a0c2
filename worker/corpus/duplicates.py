"""Grouping near duplicates by MinHash over their words (Broder 1997)."""

import re
import zlib
from operator import index
from typing import cast

import numpy as np
from datasketch import LeanMinHash, MinHash, MinHashLSH

THRESHOLD = 0.85
"""Files whose word shingles have at least this Jaccard similarity are near duplicates."""
SHINGLE = 5
"""Consecutive words in one shingle."""
PERMUTATIONS = 128
BANDS = (16, 8)
"""Bands and hashes per band: 1 - (1 - 0.85⁸)¹⁶ = 99.4 % of pairs at the threshold share a band and are compared."""

_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s++|//[^\n]*+|#[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
_WORD = re.compile(rb"[0-9A-Za-z_\x80-\xff]+")
_FACTORS = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, SHINGLE + 1)], dtype=np.uint64)
_BATCH = 4096


class Clusters:
    """Files in groups: near duplicates share one, also indirectly through others.

    The index has only the first file of each kind: a file similar to one in the index joins its group instead, so a
    thousand variants of one template cost a thousand comparisons, not a million.
    """

    def __init__(self) -> None:
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
        self._sketches: dict[int, LeanMinHash] = {}
        self._parent: list[int] = []
        self._groups = 0

    def __len__(self) -> int:
        """Number of groups."""
        return self._groups

    def add(self, data: bytes) -> None:
        """Put the next file into a group; it may merge two groups."""
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
        """A number shared by all files of a group; files are counted from 0 in the order added."""
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
    """Distinct hashes of all runs of `SHINGLE` words, [n]; n = 0 for a file without words.

    Comments above the code are skipped, else short files under one long licence would all be alike. A file with fewer
    words is one shingle. A shingle's hash is a polynomial in the checksums of its words, modulo 2^64.
    """
    header = _HEADER.match(data)
    found = _WORD.findall(data, header.end() if header else 0) or _WORD.findall(data)
    words = np.fromiter(map(zlib.crc32, found), dtype=np.uint64)
    width = min(SHINGLE, len(words))
    if width == 0:
        return np.empty(0, dtype=np.uint32)
    rows = np.lib.stride_tricks.sliding_window_view(words, width)
    sums = (rows * _FACTORS[:width]).sum(axis=1, dtype=np.uint64)
    # the upper half: the low bits of a product modulo 2^64 depend on the low bits of its factors only
    return np.unique(sums >> np.uint64(32)).astype(np.uint32)


def _sketch(shingles: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> LeanMinHash:
    sketch = _EMPTY.copy()
    for start in range(0, len(shingles), _BATCH):  # memory is the batch size times PERMUTATIONS
        sketch.update_batch(shingles[start : start + _BATCH].tolist())
    return LeanMinHash(sketch)


_EMPTY = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=index)
