"""Blocks of projects of one language: what analyses that read all files do in one step, together if they can."""

from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.analysis import Step
from keyscope.worker.analysis.subject import Subject

IntArray = npt.NDArray[np.int64]
BLOCKS = 48
"""Blocks over all languages, roughly: each keeps counts of every key on disk."""
LEAST = 8
"""Fewest blocks of a language, if it has that many projects."""


def block_steps(subject: Subject) -> list[Step]:
    """Deal all projects to blocks of one language and one part, test or not; with few projects each is a block of its own.

    The largest are dealt first, each to the block with the fewest tokens, so that blocks are as equal as they can be. The
    files of a language with too few projects are dealt in their place.
    """
    store, units = subject.store, subject.units
    each = max(LEAST, BLOCKS // len(store.language_names))
    steps: list[Step] = []
    for language in range(len(store.language_names)):
        for of_part in (~units.test, units.test):
            files = np.flatnonzero((store.languages == language) & of_part)
            members, of_file = np.unique(units.of_file[files], return_inverse=True)
            number = min(each // 2, len(members))
            block = _dealt(np.bincount(of_file, store.counted[files]), number)[of_file]
            for chosen in (files[block == one] for one in range(number)):
                tokens = int(store.counted[chosen].sum())
                steps.append(Step(f"files-{len(steps):05}", chosen.tolist(), tokens, shared=True))
    return steps


def _dealt(sizes: npt.NDArray[Any], blocks: int) -> IntArray:
    """The block of each unit, [units]."""
    held = np.zeros(blocks)
    block = np.zeros(len(sizes), dtype=np.int64)
    for unit in np.argsort(-sizes, kind="stable"):
        block[unit] = held.argmin()
        # a unit without tokens weighs something too, or it would leave its block empty and the next would join it
        held[block[unit]] += sizes[unit] + 1
    return block
