"""Walking the corpus: one forward pass per batch, and which of its places hold which tokens."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Batch, batches

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """The tokens of a batch in the order of its rows, without prefix and padding.

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

    def take(self, values: Tensor) -> Tensor:
        """Pick the tokens' values out of a batch, [rows, columns, …] → [n, …]."""
        return values.flatten(0, 1)[self.flat]


def places(subject: Subject, batch: Batch) -> Places:
    """Locate the tokens of a batch."""
    prefix = len(subject.model.facts.bos)
    lengths = np.array([window.length for window in batch.windows])
    rows = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.concatenate([np.arange(length) for length in lengths])
    files = np.array([window.file for window in batch.windows])[rows]
    starts = np.array([window.start for window in batch.windows])[rows]
    flat = torch.from_numpy(rows * batch.token_ids.shape[1] + prefix + positions).to(subject.model.device)
    return Places(flat, subject.store.offsets[files] + starts + positions, files, positions, rows)


def walk(subject: Subject, files: Iterable[int]) -> Iterator[tuple[Batch, Places]]:
    """Iterate over all windows of some files, a batch at a time."""
    window, facts = subject.manifest.settings.window, subject.model.facts
    for batch in batches(subject.store, files, window, subject.batch, facts.bos, subject.model.device):
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
        return at.take(model.run_body(batch.token_ids))
