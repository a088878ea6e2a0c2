"""Entries of many lists with their contexts as plain arrays, which shards write and the merge joins; contexts wait on disk."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from keyscope.worker.disk import allocate


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
        return self.take(order[rank_in(self.key[order], self.group[order]) < slots])


class ContextSpool:
    """float16 contexts with a float32 scale each, one fixed place for each of `slots` slots, in memory-mapped files.

    float16 has 11 bits of precision but overflows at 65,504 and loses digits below 6e-5. Divided by its largest absolute
    value a context spans -1 … 1, so only numbers 16,000 times smaller than its largest lose precision.
    """

    def __init__(self, path: Path, slots: int, width: int) -> None:
        scales = path.with_suffix(".scales")
        self._contexts = np.memmap(path, dtype=np.float16, mode="w+", shape=(slots, width))
        self._scales = np.memmap(scales, dtype=np.float32, mode="w+", shape=(slots,))
        for file in (path, scales):
            allocate(file)

    def write(self, slots: Tensor, contexts: Tensor) -> None:
        """Write float32 contexts [n, width], NaN outside the window; if slots repeat, the last one counts."""
        scales = contexts.nan_to_num(0).abs().amax(dim=1)
        scales[scales == 0] = 1  # 0/0 would turn zeros into NaN, which means outside the window
        places = slots.cpu().numpy()
        self._contexts[places] = (contexts / scales[:, None]).half().cpu().numpy()
        self._scales[places] = scales.cpu().numpy()

    def read(self, slots: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """Read the contexts [n, width] and scales [n] of some slots."""
        return np.asarray(self._contexts[slots]), np.asarray(self._scales[slots])


def rank_in(*lists: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Position of each row within its run of adjacent rows that are equal in all columns, from 0."""
    n = len(lists[0])
    starts = np.flatnonzero(first_of(*lists))
    return np.arange(n) - np.repeat(starts, np.diff(starts, append=n))


def first_of(*columns: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether each row differs from the one before in any column."""
    differs = np.zeros(len(columns[0]), dtype=bool)
    if len(differs):
        differs[0] = True
        for column in columns:
            differs[1:] |= column[1:] != column[:-1]
    return differs
