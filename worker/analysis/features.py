"""How often each key fires on tokens with each of some features: one small matrix product a layer and batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel


class FeatureCounts:
    """Counts of tokens that have a feature and on which a key's coefficient is over a level.

    Several levels can be counted at once, such as 0 for firing at all and a high quantile for firing strongly.
    """

    def __init__(self, model: CodeModel, features: int, levels: Sequence[Sequence[npt.ArrayLike]]) -> None:
        """Start at zero.

        Args:
            model: the model.
            features: how many features.
            levels: for each level and layer the level of every key, [keys] or one number for all.
        """
        device = model.device
        self._levels = [
            [
                torch.as_tensor(np.broadcast_to(np.asarray(level, np.float32), each.n_keys).copy()).to(device)
                for level, each in zip(layers, model.layers, strict=True)
            ]
            for layers in levels
        ]
        sizes = model.facts.keys_per_layer
        self._counts = [torch.zeros(len(levels), keys, features, dtype=torch.int64, device=device) for keys in sizes]

    def add(self, layer: int, coefficients: Tensor, features: Tensor) -> None:
        """Count tokens: coefficients [n, keys] and features [n, features], 0 or 1, both float32 on the device."""
        for number, levels in enumerate(self._levels):
            over = (coefficients > levels[layer]).to(features.dtype)
            # sums of zeros and ones stay exact in float32 far beyond any batch
            self._counts[layer][number] += (over.T @ features).to(torch.int64)

    def arrays(self) -> npt.NDArray[np.int64]:
        """The counts so far, [levels, keys of all layers, features]."""
        return torch.cat(self._counts, dim=1).cpu().numpy()
