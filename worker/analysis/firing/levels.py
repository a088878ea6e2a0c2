"""The levels above which a key fires: 0, its own high quantile (strongly), half its largest coefficient (peak)."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.manifest import Manifest
from keyscope.worker.analysis.concepts.levels import key_levels
from keyscope.worker.model.code_model import CodeModel

FloatArray = npt.NDArray[np.float32]
_EXTREMES = 'SELECT minimum, maximum FROM keys WHERE layer = ? ORDER BY "index"'


@dataclass(frozen=True)
class Levels:
    """The levels of every key, [keys] per layer.

    In a gated layer the sign of a coefficient carries no meaning, so all but firing itself goes by the absolute value.
    """

    strong: Sequence[FloatArray]
    peak: Sequence[FloatArray]
    absolute: bool

    def on(self, model: CodeModel) -> "LevelsOnDevice":
        """Copy the levels to the model's device."""
        strong, peak = (
            tuple(torch.from_numpy(level).to(model.device) for level in levels) for levels in (self.strong, self.peak)
        )
        return LevelsOnDevice(strong, peak, self.absolute)


@dataclass(frozen=True)
class LevelsOnDevice:
    """The levels of every key on the model's device."""

    strong: tuple[Tensor, ...]
    peak: tuple[Tensor, ...]
    absolute: bool

    def over(self, layer: int, coefficients: Tensor) -> Tensor:
        """Which keys fire, fire strongly and peak: [n, keys] → [3, n, keys] of 0 and 1, in float32."""
        sizes = coefficients.abs() if self.absolute else coefficients
        return torch.stack([coefficients > 0, sizes > self.strong[layer], sizes > self.peak[layer]]).float()


def read_levels(connection: duckdb.DuckDBPyConnection, manifest: Manifest, strong_share: float) -> Levels:
    """Read the levels from the run's histograms and extremes; a quantile below 0 counts as 0."""
    strong = [np.maximum(level[0], 0) for level in key_levels(connection, manifest, (strong_share,))]
    peak = []
    for layer in range(manifest.model.n_layers):
        found = connection.cursor().execute(_EXTREMES, [layer]).fetchnumpy()
        largest = found["maximum"]
        if manifest.model.gated:
            largest = np.maximum(largest, -found["minimum"])
        peak.append(np.maximum(np.asarray(largest, np.float32) / 2, 0))
    return Levels(strong, peak, manifest.model.gated)
