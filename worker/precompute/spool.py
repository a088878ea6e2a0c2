"""Contexts of entries on disk, in one fixed place a slot, so that they cost no memory and never grow with the corpus."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from keyscope.worker.precompute.disk import allocate


class ContextSpool:
    """float16 contexts with a float32 scale for `slots` slots, in files mapped into memory."""

    def __init__(self, path: Path, slots: int, width: int) -> None:
        scales = path.with_suffix(".scales")
        self._contexts = np.memmap(path, dtype=np.float16, mode="w+", shape=(slots, width))
        self._scales = np.memmap(scales, dtype=np.float32, mode="w+", shape=(slots,))
        for file in (path, scales):
            allocate(file)

    def write(self, slots: Tensor, contexts: Tensor) -> None:
        """Write float32 contexts [n, width] (NaN outside the window) to their slots; of equal slots the last holds."""
        scales = contexts.nan_to_num(0).abs().amax(dim=1)
        scales[scales == 0] = 1
        places = slots.cpu().numpy()
        self._contexts[places] = (contexts / scales[:, None]).half().cpu().numpy()
        self._scales[places] = scales.cpu().numpy()

    def read(self, slots: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """Contexts [n, width] and scales [n] of some slots."""
        return np.asarray(self._contexts[slots]), np.asarray(self._scales[slots])
