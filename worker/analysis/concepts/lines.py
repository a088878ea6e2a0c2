"""The lines of all files, numbered through the corpus, and which of them are near a span."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.concepts.places import Places
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
RADIUS = 2
"""Lines above and below that count as near; with its own line a token sees five."""


@dataclass(frozen=True)
class Lines:
    """A number for every line of the corpus."""

    breaks: IntArray
    """Places of the line breaks in all texts, concatenated."""
    text_offsets: IntArray
    offsets: IntArray
    """Number of each file's first line, then the number of all lines, [files + 1]."""
    named: IntArray
    """The token store's number of each file's first line, [files]; above 1 for a later piece of a long file."""

    def of_bytes(self, files: IntArray, places: IntArray) -> IntArray:
        """Numbers of the lines that hold given bytes of files."""
        before = np.searchsorted(self.breaks, self.text_offsets[files] + places)
        return before - np.searchsorted(self.breaks, self.text_offsets[files]) + self.offsets[files]

    def called(self, files: IntArray, lines: npt.ArrayLike) -> IntArray:
        """Convert line numbers within files, as runs store them, to numbers in the corpus."""
        return self.offsets[files] + np.asarray(lines, np.int64) - self.named[files]


def lines_of(store: TokenStore) -> Lines:
    """Number the lines of a corpus."""
    breaks = np.flatnonzero(store.texts == ord("\n"))
    counts = np.diff(np.searchsorted(breaks, store.text_offsets)) + 1
    lines = Lines(
        breaks=breaks,
        text_offsets=store.text_offsets,
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        named=np.ones(store.n_files, dtype=np.int64),
    )
    full = np.flatnonzero(store.lengths > 0)
    first = store.offsets[full]
    below = lines.of_bytes(full, store.starts[first].astype(np.int64)) - lines.offsets[full]
    lines.named[full] = store.lines[first].astype(np.int64) - below
    return lines


def near(lines: Lines, places: Places) -> BoolArray:
    """Which lines have a span in them or within `RADIUS` lines in the same file, [lines].

    Marks +1 at the first and -1 after the last line of each span, then sums up: linear in lines and spans.
    """
    low, high = lines.offsets[places.files], lines.offsets[places.files + 1]
    first = np.maximum(lines.of_bytes(places.files, places.firsts) - RADIUS, low)
    after = np.minimum(lines.of_bytes(places.files, places.ends - 1) + RADIUS + 1, high)
    change = np.bincount(first, minlength=lines.offsets[-1] + 1) - np.bincount(after, minlength=lines.offsets[-1] + 1)
    return np.cumsum(change[:-1]) > 0
