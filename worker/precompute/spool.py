"""Contexts of entries on disk, one fixed place per slot: no memory, and a size independent of the corpus."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from keyscope.worker.precompute.disk import allocate


class ContextSpool:
    """float16 contexts with a float32 scale each, for `slots` slots, in memory-mapped files.

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
