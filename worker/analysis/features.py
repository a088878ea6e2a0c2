"""Counts of how often each key fires on tokens with given features: one matrix product per layer and batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel

NEAR = 2**18
"""Coefficients that are compared with all levels before the next ones, on a CPU: 1 MB."""


class FeatureCounts:
    """Counts of tokens that have a feature and on which a key's coefficient is above a level.

    Several levels can be counted at once, such as 0 for firing at all and a high quantile for firing strongly. The last
    feature counted is that of being a token at all.
    """

    def __init__(self, model: CodeModel, features: int, levels: Sequence[Sequence[npt.ArrayLike]]) -> None:
        """Start at zero.

        Args:
            model: the model whose keys are counted.
            features: number of features.
            levels: for each level, for each layer, the level of every key: [keys], or one number for all.
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
        self._counts = [
            torch.zeros(len(levels), keys, features + 1, dtype=torch.int64, device=device) for keys in sizes
        ]

    def add(self, layer: int, coefficients: Tensor, features: Tensor) -> None:
        """Count tokens: coefficients [n, keys], features [n, features] of 0 and 1; both float32 on the device."""
        some = features.any(dim=1).nonzero()[:, 0]
        # few tokens have any feature; float32 adds up zeros and ones exactly to 2**24, far beyond any batch
        of_some, mine = features[some], coefficients[some]
        over = torch.empty_like(mine)
        for number, levels in enumerate(self._levels):
            torch.gt(mine, levels[layer], out=over)
            self._counts[layer][number, :, :-1] += (over.T @ of_some).to(torch.int64)
        # all levels of a few tokens before the next ones: they stay near the processor
        rows = NEAR // coefficients.shape[1] if coefficients.device.type == "cpu" else len(coefficients)
        for part in coefficients.split(max(1, rows)):
            every, over = part.new_ones(len(part)), torch.empty_like(part)
            for number, levels in enumerate(self._levels):
                torch.gt(part, levels[layer], out=over)
                self._counts[layer][number, :, -1] += (every @ over).to(torch.int64)

    def arrays(self) -> npt.NDArray[np.int64]:
        """The counts so far, [levels, keys of all layers, features + 1]."""
        return torch.cat(self._counts, dim=1).cpu().numpy()
