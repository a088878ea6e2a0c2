"""The first step: places of concepts and of their shuffled copies, their token counts, and the windows to run back."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.concepts.places import both, find, is_next, shuffle, token_table
from keyscope.worker.concepts.matching import Matching
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, Window, mix
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def take(
    matching: Matching,
    store: TokenStore,
    concepts: Sequence[Concept],
    picking: BoolArray,
    cut: Cut,
    causal_windows: int,
    seed: int,
    advance: Advance,
) -> Arrays:
    """Everything about the places of concepts that later steps need.

    Args:
        matching: finds the concepts.
        store: the corpus.
        concepts: what to look for; the shuffled copies are numbered after them.
        picking: files that keys are picked on, [files]; copies are shuffled within them.
        cut: how files are cut into windows.
        causal_windows: number of windows with sites to choose for each concept.
        seed: seed of the draws.
        advance: called now and then, so the caller can interrupt.

    Returns:
        the spans, as in `Places.arrays`; `tokens` [concepts and copies, files], `before` and `sites` [concepts, files],
        counts of the concepts' tokens, of those before them, and of those predicted from one in their window; `windows` [windows, 3], each the number of a concept, a file and the window's first token.
    """
    n = len(concepts)
    found = find(matching, store, concepts, advance)
    places = both(found, shuffle(store, found, n, picking, seed), n)
    tokens = np.zeros((2 * n, store.n_files), dtype=np.int64)
    before, sites = np.zeros((2, n, store.n_files), dtype=np.int64)
    candidates: list[IntArray] = []
    for file in range(store.n_files):
        table = token_table(store, places, 2 * n, range(file, file + 1))
        tokens[:, file] = table.sum(axis=0)
        before[:, file] = is_next(store, table[:, :n], file).sum(axis=0)
        positions = np.arange(len(table))
        table[cut.start(positions) == positions] = False  # nothing before it predicts it
        sites[:, file] = table[:, :n].sum(axis=0)
        if picking[file]:
            at, number = np.nonzero(table[:, :n])
            candidates.append(_distinct_windows(number, file, cut.start(at)))
    chosen = _drawn(store, np.concatenate(candidates or [np.zeros((0, 3), np.int64)]), causal_windows, seed)
    return {**places.arrays(), "tokens": tokens, "before": before, "sites": sites, "windows": chosen}


def causal_windows(store: TokenStore, census: Arrays, concept: int, cut: Cut) -> list[Window]:
    """The windows to run back for a concept, in random order."""
    rows = census["windows"]
    mine = rows[rows[:, 0] == concept]
    return [cut.window(file, start, int(store.lengths[file])) for file, start in mine[:, 1:].tolist()]


def _distinct_windows(numbers: IntArray, file: int, starts: IntArray) -> IntArray:
    return np.unique(np.stack([numbers, np.full(len(numbers), file), starts], axis=1), axis=0)


def _drawn(store: TokenStore, candidates: IntArray, wanted: int, seed: int) -> IntArray:
    """At most so many windows of every concept, drawn by hashes of the files' contents.

    The draw does not depend on the order of the files, nor on what other windows there are.
    """
    starts = candidates[:, 2].astype(np.uint64) + np.uint64(seed)
    with np.errstate(over="ignore"):
        lots = mix(store.seeds[candidates[:, 1]] + mix(starts))
    order = np.lexsort((lots, candidates[:, 0]))
    ordered = candidates[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered[:, 0], ordered[:, 0])
    chosen: IntArray = ordered[place < wanted]
    return chosen
