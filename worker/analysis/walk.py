"""Walking the corpus: one forward pass per batch, and which of its places hold which tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Batch, Cut, batches, counted

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Tokens of a batch, in the order of its rows.

    Each array is [n]: `numbers` counts tokens through the whole corpus and so indexes the arrays of the token store;
    `positions` counts from 0 within the window.
    """

    flat: Tensor
    """Their places in the flattened batch [rows * columns], on the device."""
    numbers: IntArray
    files: IntArray
    positions: IntArray
    rows: IntArray

    def __len__(self) -> int:
        return len(self.numbers)

    def shifted(self, steps: npt.NDArray[np.integer]) -> IntArray:
        """For each token the index of the one so many steps on in its window, past the last one from the first again.

        Args:
            steps: [rows].
        """
        lengths = np.bincount(self.rows, minlength=len(steps))
        first = (np.cumsum(lengths) - lengths)[self.rows]
        length = lengths[self.rows]
        further = (steps.astype(np.uint64)[self.rows] % length.astype(np.uint64)).astype(np.int64)
        return first + (np.arange(len(self)) - first + further) % length

    def take(self, values: Tensor) -> Tensor:
        """Pick the tokens' values out of a batch, [rows, columns, …] → [n, …]."""
        return values.flatten(0, 1)[self.flat]


def places(subject: Subject, batch: Batch) -> Places:
    """Locate the tokens of a batch that count."""
    return places_at(subject, batch, [np.flatnonzero(counted(subject.store, window)) for window in batch.windows])


def places_at(subject: Subject, batch: Batch, inside: Sequence[IntArray]) -> Places:
    """Locate the tokens of a batch at some positions of each window."""
    rows = np.repeat(np.arange(len(inside)), [len(found) for found in inside])
    positions = np.concatenate(inside)
    files = np.array([window.file for window in batch.windows])[rows]
    starts = np.array([window.start for window in batch.windows])[rows]
    flat = torch.from_numpy(batch.flat(rows, positions)).to(subject.model.device)
    return Places(flat, subject.store.offsets[files] + starts + positions, files, positions, rows)


def walk(subject: Subject, files: Iterable[int]) -> Iterator[tuple[Batch, Places]]:
    """Iterate over all windows of some files in which a token counts, a batch at a time."""
    cut, model = Cut.of(subject.manifest.settings), subject.model
    for batch in batches(subject.store, files, cut, subject.batch, model.facts.bos, model.device):
        yield batch, places(subject, batch)


Consume = Callable[[int, Tensor], None]


@torch.inference_mode()
def forward(model: CodeModel, batch: Batch, at: Places, consume: Consume) -> Tensor:
    """Run one forward pass over a batch, without the head.

    Calls `consume(layer, coefficients)` with the coefficients of the batch's tokens, [n, keys] in float32. Hooks are in
    place only during this call.

    Returns:
        The normed residual of the batch's tokens, [n, width].
    """
    with read_coefficients(model, lambda layer, found: consume(layer, at.take(found).float())):
        return at.take(batch.run(model))
