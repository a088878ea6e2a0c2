"""The conditions measured one after another: no mask, growing doses, the main dose within a range, control keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.edit.keys import FloatArray, IntArray
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import Change

Range = tuple[FloatArray, FloatArray]
"""Lowest and highest coefficient of each masked key that is still scaled."""


@dataclass(frozen=True)
class Condition:
    """One intervention on the model."""

    role: str
    """baseline, dose, range, random or matched."""
    keys: IntArray
    """Masked keys, counted through all layers."""
    factors: FloatArray
    main: bool = False
    draw: int | None = None
    within: Range | None = None

    def changes(self, model: CodeModel) -> Mapping[int, Change]:
        """The change to the coefficients of each layer it touches."""
        first = model.first_keys
        layers = np.searchsorted(first, self.keys, side="right") - 1
        return {int(layer): self._change(model, int(layer), layers == layer) for layer in np.unique(layers)}

    def _change(self, model: CodeModel, layer: int, here: npt.NDArray[np.bool_]) -> Change:
        indices = torch.from_numpy(self.keys[here] - model.first_keys[layer]).to(model.device)

        def spread(values: FloatArray, elsewhere: float) -> Tensor:
            """Spread the masked keys' numbers over all keys of the layer, in the model's type: no cast per pass."""
            table = torch.full((model.layers[layer].n_keys,), elsewhere, dtype=model.dtype, device=model.device)
            table[indices] = torch.from_numpy(values[here]).to(table)
            return table

        factors = spread(self.factors, 1.0)
        if self.within is None:
            return lambda coefficients: coefficients * factors
        low, high = spread(self.within[0], 0.0), spread(self.within[1], 0.0)
        return lambda coefficients: torch.where(
            (coefficients >= low) & (coefficients <= high), coefficients * factors, coefficients
        )


def conditions(
    keys: IntArray,
    factors: FloatArray,
    doses: Sequence[int],
    main: int,
    within: Range,
    controls: Mapping[str, IntArray],
) -> list[Condition]:
    """All conditions of an edit, the baseline first.

    Args:
        keys: the ranked keys.
        factors: their factors.
        doses: numbers of first keys to mask.
        main: the dose that is repeated within a range and with control keys.
        within: that range.
        controls: by kind, the keys masked instead, [draws, main].
    """
    nothing = np.zeros(0, dtype=np.int64)
    all_conditions = [Condition("baseline", nothing, np.zeros(0))]
    all_conditions += [Condition("dose", keys[:dose], factors[:dose], main=dose == main) for dose in doses]
    all_conditions.append(Condition("range", keys[:main], factors[:main], main=True, within=within))
    for role, draws in controls.items():
        all_conditions += [Condition(role, drawn, factors[:main], draw=number) for number, drawn in enumerate(draws)]
    return all_conditions
