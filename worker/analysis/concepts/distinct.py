"""Hits that tokens alone do not explain: each distinct token, token before, or position of a key's triggers counts once.

Random weights prefer tokens too, and a token such as `import` is always near an import. So a key's triggers are held
against places of other tokens about as common, not against random tokens (see `keyscope.worker.analysis.alike`).

Two things are counted: triggers near a match, and triggers on one. Code near a match is common, so a key that fires on
the few words of a concept such as loops has too few distinct tokens to show anything by what is near; but hardly any
other token ever is a word of the concept.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.alike import Alike, Aspect, alike_units, log_tail_of_sum, units
from keyscope.worker.analysis.concepts.hits import LayerTriggers
from keyscope.worker.analysis.concepts.places import Places, tokens_inside
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Hit = Callable[[IntArray], IntArray]
"""Which tokens, given by their numbers, are hits: 1 or 0."""


class DistinctHits:
    """Places near concepts, and how often units of every class are there.

    Args:
        store: the corpus.
        lines: number of every token's line, [tokens].
        near: for each concept, which lines are near a match, [lines].
        places: their matches.
        covered: for each concept, the languages it is defined in, [languages].
        cut: how files are cut into windows.
        files: the files that keys are picked on.
    """

    def __init__(
        self,
        store: TokenStore,
        lines: IntArray,
        near: Sequence[BoolArray],
        places: Places,
        covered: Sequence[BoolArray],
        cut: Cut,
        files: BoolArray,
    ) -> None:
        self._store, self._covered = store, covered
        self._hits: dict[str, Hit] = {}
        for number, lines_near in enumerate(near):
            self._hits[f"near-{number}"] = partial(_on_lines, lines, lines_near)
            tokens_on = _tokens_on(store, places.concept(number), np.flatnonzero(files))
            self._hits[f"on-{number}"] = partial(_among, tokens_on)
        aspects = {name: Aspect(2, hit) for name, hit in self._hits.items()}
        self._alike: tuple[Alike, ...] = alike_units(store, aspects, cut, files)

    def log_p(self, number: int, triggers: LayerTriggers) -> FloatArray:
        """log of the chance of as many distinct units near a concept or on it, [keys].

        Of the kinds of units the largest, since each alone could explain the hits; of near and on the smaller, doubled
        since there are two.
        """
        there = self._covered[number][triggers.languages]
        key, language, tokens = (each[there] for each in (triggers.indices, triggers.languages, triggers.tokens))
        go_by = units(self._store, tokens, triggers.firsts[there])
        found = np.full((2, triggers.keys), -np.inf)
        for alike, unit in zip(self._alike, go_by, strict=True):
            once = alike.once(key, language, unit)
            for row, name in zip(found, (f"near-{number}", f"on-{number}"), strict=True):
                rate, hit = alike.shares[name][once.classes, 1], self._hits[name](tokens[once.trigger]) > 0
                np.maximum(row, log_tail_of_sum(triggers.keys, key[once.trigger], rate, hit), out=row)
        smaller: FloatArray = np.minimum(found.min(axis=0) + np.log(2), 0.0)
        return smaller


def _tokens_on(store: TokenStore, places: Places, files: IntArray) -> IntArray:
    """The tokens of some files that are of a concept, ascending."""
    some = np.intersect1d(places.files, files)
    found = [store.offsets[file] + np.flatnonzero(tokens_inside(store, places, file)) for file in some.tolist()]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _on_lines(lines: IntArray, chosen: BoolArray, tokens: IntArray) -> IntArray:
    """1 for tokens on the chosen lines, else 0."""
    return chosen[lines[tokens]].astype(np.int64)


def _among(chosen: IntArray, tokens: IntArray) -> IntArray:
    """1 for tokens among the chosen ones, which ascend, else 0."""
    if not len(chosen):
        return np.zeros(len(tokens), dtype=np.int64)
    found: BoolArray = chosen[np.minimum(np.searchsorted(chosen, tokens), len(chosen) - 1)] == tokens
    return found.astype(np.int64)
