"""The conditions measured one after another: no mask, growing doses, the main dose in other ways, control keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from keyscope.contract.analyses.edit import Operation
from keyscope.worker.analysis.edit.elsewhere import Elsewhere, Rows
from keyscope.worker.analysis.edit.keys import FloatArray, IntArray
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import Change

Range = tuple[FloatArray, FloatArray]
"""Lowest and highest coefficient of each masked key that is still changed."""
Changes = Callable[[Rows], Mapping[int, Change]]
"""The change to the coefficients of each layer, given what the rows of a batch hold."""
Instead = Callable[[Tensor, Rows], Tensor]
"""What takes the place of masked coefficients, [rows, tokens, masked keys of a layer]."""


@dataclass(frozen=True)
class Condition:
    """One intervention on the model."""

    role: str
    """baseline, dose, range, zero, resample, random, matched or damage."""
    operation: Operation
    keys: IntArray
    """Masked keys, counted through all layers."""
    factors: FloatArray
    """The factor of each key, where the operation is scale."""
    main: bool = False
    draw: int | None = None
    within: Range | None = None
    seed: int = 0
    """Seed of the places that coefficients are resampled from."""


def prepare(condition: Condition, model: CodeModel, elsewhere: Elsewhere) -> Changes:
    """A condition's numbers as tensors, layer by layer: made once, used in every batch."""
    layers = np.searchsorted(model.first_keys, condition.keys, side="right") - 1
    by_layer = {
        int(layer): _in_layer(condition, model, elsewhere, int(layer), np.flatnonzero(layers == layer))
        for layer in np.unique(layers)
    }
    return lambda rows: {layer: partial(change, rows=rows) for layer, change in by_layer.items()}


def _in_layer(
    condition: Condition, model: CodeModel, elsewhere: Elsewhere, layer: int, here: IntArray
) -> Callable[..., Tensor]:
    keys = condition.keys[here]
    index = torch.from_numpy(keys - model.first_keys[layer]).to(model.device)
    instead = _instead(condition, model, elsewhere, keys, here)
    reach = None
    if condition.within is not None:
        reach = tuple(_tensor(model, end[here]) for end in condition.within)

    def change(coefficients: Tensor, rows: Rows) -> Tensor:
        mine = coefficients[..., index]
        put = instead(mine, rows)
        if reach is not None:
            put = torch.where((mine >= reach[0]) & (mine <= reach[1]), put, mine)
        changed = coefficients.clone()
        changed[..., index] = put
        return changed

    return change


def _instead(condition: Condition, model: CodeModel, elsewhere: Elsewhere, keys: IntArray, here: IntArray) -> Instead:
    """The operation as arithmetic."""
    match condition.operation:
        case "scale":
            factors = _tensor(model, condition.factors[here])
            return lambda mine, _rows: mine * factors
        case "mean":
            means = _tensor(model, elsewhere.means[:, keys])
            return lambda mine, rows: means[torch.from_numpy(rows.languages)][:, None].expand_as(mine)
        case "resample":
            bank = _tensor(model, elsewhere.bank[:, np.searchsorted(elsewhere.keys, keys)])
            return lambda _mine, rows: bank[torch.from_numpy(rows.sources(elsewhere.bounds, condition.seed))]
        case _:
            assert_never(condition.operation)


def _tensor(model: CodeModel, values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype=model.dtype, device=model.device)


@dataclass(frozen=True)
class Masks:
    """The keys of an edit and of its controls."""

    ranked: IntArray
    factors: FloatArray
    """Those of the ranked keys."""
    doses: Sequence[int]
    """Numbers of first keys to mask."""
    main: int
    """The dose that controls and contrasts refer to."""
    controls: Mapping[str, Sequence[IntArray]]
    """By kind, the keys masked instead in each draw."""


def doses(masks: Masks) -> list[Condition]:
    """The baseline and every dose with its keys at their means."""
    nothing = np.zeros(0, dtype=np.int64)
    ranked, factors = masks.ranked, masks.factors
    return [
        Condition("baseline", "mean", nothing, np.zeros(0)),
        *(Condition("dose", "mean", ranked[:dose], factors[:dose], main=dose == masks.main) for dose in masks.doses),
    ]


def conditions(masks: Masks, within: Range, resamples: int, seed: int) -> list[Condition]:
    """All conditions of an edit, the baseline first.

    Args:
        masks: the keys.
        within: the range of coefficients of the main dose's keys that range masking changes.
        resamples: draws of places to resample from; as many damage-matched controls are resampled, each once.
        seed: seed of those draws.
    """
    keys, factors = masks.ranked[: masks.main], masks.factors[: masks.main]
    return [
        *doses(masks),
        Condition("range", "mean", keys, factors, within=within),
        Condition("zero", "scale", keys, factors),
        *(Condition("resample", "resample", keys, factors, draw=n, seed=seed + n) for n in range(resamples)),
        *_controls(masks, resamples, seed),
    ]


def _controls(masks: Masks, resamples: int, seed: int) -> Iterator[Condition]:
    none = np.zeros(0)
    for role, draws in masks.controls.items():
        yield from (Condition(role, "mean", drawn, none, draw=n) for n, drawn in enumerate(draws))
    for n, drawn in enumerate(masks.controls["damage"][:resamples]):
        yield Condition("damage", "resample", drawn, none, draw=n, seed=seed + n)
