"""Entries of many lists with their contexts as plain arrays, which shards write and the merge joins."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.sampling import N_GROUPS


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries of several lists, sorted by list; each array is [n], except `contexts`, which is [n, width].

    `key` counts through all layers; `group` is 0 except for samples.
    """

    key: npt.NDArray[np.int64]
    group: npt.NDArray[np.int8]
    score: npt.NDArray[np.float32]
    file: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    contexts: npt.NDArray[np.float16]

    def take(self, chosen: npt.NDArray[Any] | slice) -> "Entries":
        """The entries at some indices."""
        return Entries(*(getattr(self, each.name)[chosen] for each in fields(self)))

    @classmethod
    def join(cls, parts: list["Entries"]) -> "Entries":
        """Concatenate entries."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def best(self, slots: int) -> "Entries":
        """The best `slots` entries of each list, sorted by list, then in the total order."""
        # lexsort's last key is the first to compare by; the order is that of `BestEntries`, so merging shards gives
        # the entries one pass over the whole corpus would have kept
        order = np.lexsort((self.position, self.file, -self.score, self.group, self.key))
        lists = self.key[order] * N_GROUPS + self.group[order]
        new = np.flatnonzero(np.diff(lists, prepend=-1))
        rank = np.arange(len(lists)) - np.repeat(new, np.diff(new, append=len(lists)))
        return self.take(order[rank < slots])
