"""Hits that tokens alone do not explain: each distinct token, token before, or position of a key's triggers counts once.

Random weights prefer tokens too, and a token such as `import` is always near an import. So a key's triggers are held
against places of other tokens about as common, not against random tokens (see `keyscope.worker.analysis.alike`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.alike import Alike, Aspect, alike_units, log_tail_of_sum, units
from keyscope.worker.analysis.concepts.hits import LayerTriggers
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class DistinctHits:
    """Places near concepts, and how often units of every class are there.

    Args:
        store: the corpus.
        lines: number of every token's line, [tokens].
        near: for each concept, which lines are near a match, [lines].
        covered: for each concept, the languages it is defined in, [languages].
        cut: how files are cut into windows.
        files: the files that keys are picked on.
    """

    def __init__(
        self,
        store: TokenStore,
        lines: IntArray,
        near: Sequence[BoolArray],
        covered: Sequence[BoolArray],
        cut: Cut,
        files: BoolArray,
    ) -> None:
        self._store, self._covered, self._near = store, covered, near

        def places(number: int) -> Aspect:
            return Aspect(2, lambda tokens: near[number][lines[tokens]].astype(np.int64))

        aspects = {str(number): places(number) for number in range(len(near))}
        self._alike: tuple[Alike, ...] = alike_units(store, aspects, cut, files)

    def log_p(self, number: int, triggers: LayerTriggers) -> FloatArray:
        """log of the chance of as many distinct units near a concept, [keys]; the largest over the kinds of units."""
        there = self._covered[number][triggers.languages]
        key, language = triggers.indices[there], triggers.languages[there]
        hit = self._near[number][triggers.lines[there]]
        go_by = units(self._store, triggers.tokens[there], triggers.firsts[there])
        found = np.full(triggers.keys, -np.inf)
        for alike, unit in zip(self._alike, go_by, strict=True):
            once = alike.once(key, language, unit)
            rate = alike.shares[str(number)][once.classes, 1]
            found = np.maximum(found, log_tail_of_sum(triggers.keys, key[once.trigger], rate, hit[once.trigger]))
        return found
