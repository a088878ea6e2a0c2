"""Places of concepts in the corpus, and of their shuffled copies: as many spans of the same lengths, anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.contract.patterns import Span
from keyscope.worker.analysis.analysis import Arrays, read_record, record_arrays
from keyscope.worker.concepts.matching import Matching, tokens_in
from keyscope.worker.concepts.spans import merged
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
_FILES_PER_CALL = 64
"""Files searched between two calls of `advance`."""


@dataclass(frozen=True)
class Places:
    """Spans of several concepts, ascending by concept, file and place; each array is [spans]."""

    concepts: IntArray
    files: IntArray
    firsts: IntArray
    ends: IntArray
    """The byte after a span's last."""

    @classmethod
    def of(cls, arrays: Arrays) -> "Places":
        """The inverse of `arrays`."""
        return read_record(cls, arrays)

    def arrays(self) -> Arrays:
        """The spans as part of a step's result."""
        return record_arrays(self)

    def concept(self, number: int) -> "Places":
        first, last = np.searchsorted(self.concepts, [number, number + 1])
        return Places(*(array[first:last] for array in (self.concepts, self.files, self.firsts, self.ends)))

    def in_file(self, file: int) -> list[Span]:
        """The spans in a file; only valid for the places of a single concept, where files ascend."""
        first, last = np.searchsorted(self.files, [file, file + 1])
        return list(zip(self.firsts[first:last].tolist(), self.ends[first:last].tolist(), strict=True))


def find(matching: Matching, store: TokenStore, concepts: Sequence[Concept], advance: Advance) -> Places:
    """Find every span of every concept in every file; concepts are numbered by their place in the sequence."""
    rows: list[tuple[int, int, int, int]] = []
    for file in range(store.n_files):
        language = store.language_names[store.languages[file]]
        for number, spans in enumerate(matching.spans(concepts, store.text(file), language, advance)):
            rows += ((number, file, first, end) for first, end in spans)
        if file % _FILES_PER_CALL == 0:
            advance(0)
    return _places(rows)


def shuffle(store: TokenStore, found: Places, n_concepts: int, files: BoolArray, seed: int) -> Places:
    """Scatter as many spans of the same lengths for every concept, anywhere in the chosen files of each language.

    The control of the whole analysis: a copy has a concept's sizes and languages, and no meaning.

    Args:
        store: the corpus.
        found: the places to shuffle.
        n_concepts: number of concepts.
        files: the files that spans are taken from and put into, [files].
        seed: seed of the places.
    """
    sizes = np.diff(store.text_offsets)
    rows: list[tuple[int, int, int, int]] = []
    for number in range(n_concepts):
        random = np.random.default_rng((seed, number))
        one = found.concept(number)
        for code in range(len(store.language_names)):
            chosen = np.flatnonzero(files & (store.languages == code))
            lengths = (one.ends - one.firsts)[np.isin(one.files, chosen)]
            rows += _scattered(random, number, chosen, sizes[chosen], lengths)
    return _places(rows)


def both(found: Places, shuffled: Places, n_concepts: int) -> Places:
    """Join concepts and their shuffled copies; the copies are numbered after the concepts."""
    return Places(
        np.concatenate([found.concepts, shuffled.concepts + n_concepts]),
        np.concatenate([found.files, shuffled.files]),
        np.concatenate([found.firsts, shuffled.firsts]),
        np.concatenate([found.ends, shuffled.ends]),
    )


def token_table(store: TokenStore, places: Places, n_concepts: int, files: range) -> BoolArray:
    """Which tokens of some files count and belong to which concept, [tokens of the files, concepts]."""
    base = int(store.offsets[files.start])
    table = np.zeros((int(store.offsets[files.stop]) - base, n_concepts), dtype=bool)
    for number in range(n_concepts):
        one = places.concept(number)
        for file in np.unique(one.files[(one.files >= files.start) & (one.files < files.stop)]):
            tokens = store.tokens_of(file)
            table[tokens.start - base : tokens.stop - base, number] = tokens_inside(store, one, file)
    return table


def tokens_inside(store: TokenStore, places: Places, file: int) -> BoolArray:
    """Which tokens of a file count and belong to the concept with those places, [tokens of the file]."""
    tokens, length = store.tokens_of(file), int(np.diff(store.text_offsets[file : file + 2])[0])
    inside: BoolArray = tokens_in(places.in_file(file), store.starts[tokens], length) & ~store.boilerplate[tokens]
    return inside


def is_next(store: TokenStore, inside: BoolArray, file: int) -> BoolArray:
    """Which tokens of a file count and are followed by one of a concept, [tokens of the file, concepts].

    Args:
        store: the corpus.
        inside: which tokens are of each concept, same shape.
        file: the file.
    """
    counts = ~store.boilerplate[store.tokens_of(file)]
    followed: BoolArray = np.concatenate([inside[1:], np.zeros_like(inside[:1])]) & counts[:, None]
    return followed


def _scattered(
    random: np.random.Generator, number: int, files: IntArray, sizes: IntArray, lengths: IntArray
) -> Iterator[tuple[int, int, int, int]]:
    """Spans of these lengths at random bytes of the files, all equally likely, moved to fit into their file."""
    if not len(lengths):
        return
    ends = np.cumsum(sizes)
    drawn = random.integers(0, ends[-1], size=len(lengths))
    at = np.searchsorted(ends, drawn, side="right")
    firsts = np.clip(drawn - (ends[at] - sizes[at]), 0, np.maximum(sizes[at] - lengths, 0))
    by_file: dict[int, list[Span]] = {}
    for file, first, end in zip(files[at], firsts, np.minimum(firsts + lengths, sizes[at]), strict=True):
        by_file.setdefault(int(file), []).append((int(first), int(end)))
    for file, chosen in by_file.items():
        yield from ((number, file, first, end) for first, end in merged(chosen))


def _places(rows: list[tuple[int, int, int, int]]) -> Places:
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)
    return Places(*(np.ascontiguousarray(column) for column in table.T))
