"""Triggers that equal tokens lead up to, shown as one: copied code would otherwise fill a key's list with itself."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.contract.manifest import RunSettings
from keyscope.worker.precompute.entries import Entries, first_of, rank_in
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, mix

TOKENS = 10
"""Triggers are one if so many tokens, the last of which is the trigger, are equal; fewer at the start of a window."""
POOL = 4
"""Entries kept for each trigger wanted, so a list is still full after equal ones have become one."""
PLACES = 3
"""Further places named for a trigger."""

IntArray = npt.NDArray[np.int64]


def pool_size(settings: RunSettings) -> int:
    """Entries kept for each key, language and polarity until the triggers are chosen."""
    return settings.top_k if settings.ungrouped else POOL * settings.top_k


@dataclass(frozen=True, slots=True)
class Triggers:
    """Triggers by key and rank, each the strongest entry of its group."""

    entries: Entries
    files: IntArray
    """[n], files among the key's pool of entries in which the group occurs."""
    file: IntArray
    """[n, PLACES], the files of the group's next entries; -1 where there are no more."""
    position: IntArray
    """[n, PLACES], their positions."""

    @classmethod
    def choose(cls, pool: Entries, store: TokenStore, settings: RunSettings) -> "Triggers":
        """The triggers of every key, at most `top_k` each, from its pool in the total order of entries.

        Groups rank by their strongest entries, so their order is total too.
        """
        cut = Cut.of(settings)
        leading = np.arange(len(pool.key), dtype=np.uint64) if settings.ungrouped else _leading(pool, store, cut)
        # stable, so the entries of a group stay in their order, and its first is its strongest
        order = np.lexsort((leading, pool.key))
        new = first_of(pool.key[order], leading[order])
        starts, number = np.flatnonzero(new), np.cumsum(new) - 1
        head = order[starts]
        by_rank = np.argsort(head)
        by_rank = by_rank[rank_in(pool.key[head[by_rank]]) < settings.top_k]
        further = starts[by_rank, None] + np.arange(1, PLACES + 1)
        there = further < np.append(starts[1:], len(order))[by_rank, None]
        further = order[np.where(there, further, 0)] if len(order) else further
        return cls(
            entries=pool.take(head[by_rank]),
            files=_files_of(number, pool.file[order], len(starts))[by_rank],
            file=np.where(there, pool.file[further], -1).astype(np.int64),
            position=np.where(there, pool.position[further], 0).astype(np.int64),
        )


def _leading(pool: Entries, store: TokenStore, cut: Cut) -> npt.NDArray[np.uint64]:
    """A hash of the tokens that end at each entry, `TOKENS` of them or those since the start of its window, [n]."""
    at = store.offsets[pool.file] + pool.position
    first = store.offsets[pool.file] + cut.start(pool.position.astype(np.int64))
    hashed = np.zeros(len(at), dtype=np.uint64)
    for back in range(TOKENS):
        inside = at - back >= first
        ids = np.where(inside, store.token_ids[np.where(inside, at - back, at)] + 1, 0)
        hashed = mix(hashed ^ ids.astype(np.uint64))
    return hashed


def _files_of(group: IntArray, file: npt.NDArray[np.int32], groups: int) -> IntArray:
    """Number of different files in each group, [groups]."""
    order = np.lexsort((file, group))
    return np.bincount(group[order][first_of(group[order], file[order])], minlength=groups)
