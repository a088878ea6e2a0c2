"""Attention sinks: tokens whose residual is far longer than the others', and the keys that write there.

Models park attention on a few tokens, mostly a window's first, and some keys exist to make them (Sun et al. 2024). Their
largest coefficients say nothing about code. A token is a sink if its residual after any layer is over `MULTIPLE` times as
long as the median one of its window.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.windows import Batch

MULTIPLE = 10.0


class SinkCounter:
    """In how many windows each key's largest absolute coefficient lies on a sink, over sampled windows.

    All that a model reads is looked at, the tokens in front of a window and those that do not count included: where sinks
    are is a property of the model, and burn-in leaves most of them out of everything else. `start` a batch, let the
    forward's hooks call `coefficients` and `residual`, then `finish` it.
    """

    def __init__(self, model: CodeModel) -> None:
        self._device = model.device
        self._counts = [torch.zeros(each.n_keys, dtype=torch.int64, device=model.device) for each in model.layers]
        self._windows = 0
        self._rows: Tensor | None = None
        self._padding: Tensor | None = None
        self._places: dict[int, Tensor] = {}
        self._sinks: Tensor | None = None

    def start(self, batch: Batch, sampled: npt.NDArray[np.bool_]) -> None:
        """Announce a batch and which of its windows are looked at."""
        rows = np.flatnonzero(sampled)
        self._windows += len(rows)
        self._rows = torch.from_numpy(rows).to(self._device) if len(rows) else None
        lengths = np.array([batch.read[row] for row in rows])
        padding = np.arange(batch.token_ids.shape[1]) >= lengths[:, None]
        self._padding = torch.from_numpy(padding).to(self._device) if padding.any() else None

    def coefficients(self, layer: int, coefficients: Tensor) -> None:
        """Take in a layer's coefficients, [rows, columns, keys]."""
        if self._rows is not None:
            amounts = coefficients[self._rows].abs()
            if self._padding is not None:
                amounts.masked_fill_(self._padding[:, :, None], -1)
            self._places[layer] = amounts.argmax(dim=1)

    def residual(self, _layer: int, residual: Tensor) -> None:
        """Take in the residual after a layer, [rows, columns, width]."""
        if self._rows is not None:
            lengths = residual[self._rows].float().norm(dim=2)
            if self._padding is not None:
                lengths.masked_fill_(self._padding, torch.nan)
            sinks = lengths > MULTIPLE * lengths.nanmedian(dim=1, keepdim=True).values
            self._sinks = sinks if self._sinks is None else self._sinks | sinks

    def finish(self) -> None:
        """Count the batch: only after its last layer are all its sinks known."""
        if self._sinks is not None:
            for layer, places in self._places.items():
                self._counts[layer] += self._sinks.gather(1, places).sum(dim=0)
        self._sinks = None
        self._places.clear()

    def result(self) -> npt.NDArray[np.int64]:
        """Windows in which the largest coefficient lies on a sink, and windows, [2, keys of all layers]."""
        counts = torch.cat(self._counts).cpu().numpy()
        return np.stack([counts, np.full(len(counts), self._windows)])
