"""Lines that stand in many files, such as licences and copied headers: they say nothing about the code below them."""

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keyscope.worker.corpus.spool import Extent, Spool

FEWEST_FILES = 8
SHARE_OF_FILES = 0.02
"""A line is boilerplate if it stands in this share of a language's files, and in at least `FEWEST_FILES`."""
SHORTEST = 20
"""Characters of a line that is judged alone; a shorter one is judged together with what stands above it."""

HashArray = npt.NDArray[np.uint64]
_ABOVE = 80
"""Characters, its own included, by which a shorter line is judged."""
_NUMBER = re.compile(r"[0-9]+")
_BUCKETS = 1 << 18
_CHUNK = 1 << 20
"""Bytes of hashes read back at once."""


def repeated_lines(texts: Iterable[str], files: int, scratch: Path) -> frozenset[int]:
    """Hashes of the lines that stand in enough of a language's files.

    Exact, in memory that does not grow with the corpus: a table of counts by a part of the hash bounds each line's count
    from above, and only lines that may be frequent enough are then counted one by one, from hashes kept on disk.
    """
    least = max(FEWEST_FILES, ceil(SHARE_OF_FILES * files))
    at_most = np.zeros(_BUCKETS, dtype=np.uint32)
    counts: Counter[int] = Counter()
    with Spool(scratch) as spool:
        size = 0
        for text in texts:
            hashes = np.unique(line_hashes(text)[0])
            np.add.at(at_most, _bucket(hashes), 1)
            size += spool.append(hashes.tobytes()).size
        for start in range(0, size, _CHUNK):
            hashes = np.frombuffer(spool.read(Extent(start, min(_CHUNK, size - start))), dtype=np.uint64)
            found, times = np.unique(hashes[at_most[_bucket(hashes)] >= least], return_counts=True)
            counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
    return frozenset(line for line, count in counts.items() if count >= least)


def marked_lines(text: str, repeated: frozenset[int]) -> npt.NDArray[np.bool_]:
    """Whether each line of a text is boilerplate, [lines].

    A line is one of the repeated ones. A shorter one is if it also stands below boilerplate, where files agree in it too;
    at the top of a file it goes with the first longer line.
    """
    if not repeated:
        return np.zeros(text.count("\n") + 1, dtype=bool)
    hashes, alone = line_hashes(text)
    marked = np.fromiter((line in repeated for line in hashes.tolist()), dtype=bool, count=len(hashes))
    for line in np.flatnonzero(marked & ~alone).tolist():
        marked[line] = marked[line - 1]
    return marked


def line_hashes(text: str) -> tuple[HashArray, npt.NDArray[np.bool_]]:
    """A hash of the normal form of each line, and whether it is long enough to be judged alone, both [lines].

    In the normal form all runs of white space are alike, and so are all numbers. That of a shorter line is what stands
    above and the line, with its numbers; at the top of a file, the first longer line.
    """
    hashes: list[int] = []
    alone: list[bool] = []
    waiting, above = 0, ""
    for line in text.split("\n"):
        form = " ".join(line.split())
        alike = _NUMBER.sub("0", form)
        long = len(alike) >= SHORTEST
        if not long and not above:
            waiting += 1
            continue
        above = alike if long else f"{above}\n{form}"[-_ABOVE:]
        found = int.from_bytes(blake2b(above.encode(), digest_size=8).digest(), "little")
        hashes += [found] * (waiting + 1)
        alone += [long] * (waiting + 1)
        waiting = 0
    return np.array(hashes + [0] * waiting, dtype=np.uint64), np.array(alone + [True] * waiting, dtype=bool)


def _bucket(hashes: HashArray) -> npt.NDArray[np.int64]:
    return (hashes % np.uint64(_BUCKETS)).astype(np.int64)
