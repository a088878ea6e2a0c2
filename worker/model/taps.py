"""Reading and masking coefficients, both at one place: the input of the down projection.

Hooks exist only inside a `with` block and are gone after it, whatever happened in between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from keyscope.contract.keys import Mask
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.errors import MaskNotApplied

Consume = Callable[[int, Tensor], None]
Change = Callable[[Tensor], Tensor]


@contextmanager
def read_coefficients(model: CodeModel, consume: Consume) -> Iterator[None]:
    """Call `consume(layer, coefficients)` in every forward, coefficients being [rows, tokens, keys].

    The tensor is the model's own and lives on only as long as the call: reduce it, keep no view of it.
    """

    def tap(feed_forward: FeedForward) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: consume(feed_forward.layer, inputs[0])

    with ExitStack() as hooks:
        for feed_forward in model.layers:
            hooks.callback(feed_forward.down.register_forward_pre_hook(tap(feed_forward)).remove)
        yield


@contextmanager
def read_before_activation(model: CodeModel, consume: Consume) -> Iterator[None]:
    """Like `read_coefficients`, with max(0, pre-activation) of each key in place of its coefficient.

    For layers without gate only: the output of the up projection is what the activation function is applied to.
    """

    def tap(feed_forward: FeedForward) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: consume(feed_forward.layer, output.relu())

    with ExitStack() as hooks:
        for feed_forward in model.layers:
            hooks.callback(feed_forward.up.register_forward_hook(tap(feed_forward)).remove)
        yield


@contextmanager
def change_coefficients(model: CodeModel, changes: Mapping[int, Change]) -> Iterator[None]:
    """Put `changes[layer](coefficients)` in the place of a layer's coefficients in every forward of the block.

    For masks that are the same for all rows, as analyses want them by the hundred; coefficients are [rows, tokens,
    keys], and the model's own tensor is not to be written to.

    Raises:
        MaskNotApplied: one of the layers saw no forward pass, or fewer than the others.
    """
    passes = dict.fromkeys(changes, 0)

    def tap(layer: int, change: Change) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def replace(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            passes[layer] += 1
            return (change(inputs[0]), *inputs[1:])

        return replace

    with ExitStack() as hooks:
        for layer, change in changes.items():
            hooks.callback(model.layers[layer].down.register_forward_pre_hook(tap(layer, change)).remove)
        yield
    if changes and (len(set(passes.values())) != 1 or 0 in passes.values()):
        raise MaskNotApplied(f"the masks on layers {sorted(changes)} did not act on every pass: passes seen {passes}")


@dataclass
class MaskReport:
    """What a mask really did."""

    keys: int
    positions: int = 0
    steps: dict[int, int] = field(default_factory=dict)
    """Forward passes seen by each masked layer."""


@contextmanager
def mask_coefficients(model: CodeModel, rows: Sequence[Sequence[Mask]]) -> Iterator[MaskReport]:
    """Multiply coefficients by their masks' factors in every forward of the block, row by row of the batch.

    Args:
        model: the model.
        rows: the masks of each row of the batches to come; an empty sequence leaves a row exactly as it is.

    Raises:
        MaskNotApplied: a layer with masks saw no forward pass, or fewer than the others.
    """
    factors = _factors(model, rows)
    report = MaskReport(keys=len({mask.key for masks in rows for mask in masks}), steps=dict.fromkeys(factors, 0))
    first = min(factors, default=None)

    def tap(layer: int, index: Tensor, factor: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def scale(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            coefficients = inputs[0].clone()
            coefficients[..., index] *= factor[:, None, :]
            report.steps[layer] += 1
            if layer == first:
                report.positions += coefficients.shape[1]
            return (coefficients, *inputs[1:])

        return scale

    with ExitStack() as hooks:
        for layer, (index, factor) in factors.items():
            hooks.callback(model.layers[layer].down.register_forward_pre_hook(tap(layer, index, factor)).remove)
        yield report
    if factors and (len(set(report.steps.values())) != 1 or report.positions == 0):
        raise MaskNotApplied(
            f"the masks on layers {sorted(factors)} did not act on every pass: passes seen {report.steps}"
        )


def _factors(model: CodeModel, rows: Sequence[Sequence[Mask]]) -> dict[int, tuple[Tensor, Tensor]]:
    """For each masked layer the masked indices [n] and every row's factors [rows, n], 1 where a row has no mask."""
    by_layer: dict[int, dict[int, dict[int, float]]] = {}
    for row, masks in enumerate(rows):
        for mask in masks:
            by_layer.setdefault(mask.key.layer, {}).setdefault(mask.key.index, {})[row] = mask.factor
    factors = {}
    for layer, columns in sorted(by_layer.items()):
        table = [[column.get(row, 1.0) for column in columns.values()] for row in range(len(rows))]
        index = torch.tensor(list(columns), device=model.device)
        factors[layer] = index, torch.tensor(table, dtype=model.dtype, device=model.device)
    return factors
