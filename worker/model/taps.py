"""Reads and masks coefficients at the input of the down projection.

Hooks live inside a `with` block and are removed when it ends, also after errors.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from keyscope.contract.keys import Fix, Mask, Operation, Scale
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.errors import MaskNotApplied

Consume = Callable[[int, Tensor], None]
Change = Callable[[Tensor], Tensor]


@contextmanager
def by_row(model: CodeModel) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function that turns what a feed-forward layer gets or gives into [rows, tokens, …].

    It does nothing except in families that run both dimensions as one, whose rows a hook on the first block counts.
    """
    if not model.family.flattened:
        yield lambda tensor: tensor
        return
    rows: list[int] = [0]

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows[0] = len(inputs[0])

    hook = model.layers[0].block.register_forward_pre_hook(count)
    try:
        yield lambda tensor: tensor.unflatten(0, (rows[0], -1))
    finally:
        hook.remove()


@contextmanager
def read_coefficients(model: CodeModel, consume: Consume) -> Iterator[None]:
    """Call `consume(layer, coefficients)` in every forward pass; coefficients are [rows, tokens, keys].

    The tensor belongs to the model and is valid only during the call: reduce or copy it, keep no view of it.
    """

    def tap(
        feed_forward: FeedForward, rows: Callable[[Tensor], Tensor]
    ) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...] | None]:
        def read(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            coefficients = rows(inputs[0])
            consume(feed_forward.layer, coefficients)
            # the model goes on with a view of what was read, so that gradients reach it
            return None if coefficients is inputs[0] else (coefficients.view_as(inputs[0]),)

        return read

    with ExitStack() as hooks:
        rows = hooks.enter_context(by_row(model))
        for feed_forward in model.layers:
            hooks.callback(feed_forward.down.register_forward_pre_hook(tap(feed_forward, rows)).remove)
        yield


@contextmanager
def read_before_activation(model: CodeModel, consume: Consume) -> Iterator[None]:
    """Like `read_coefficients`, but with max(0, pre-activation) of each key instead of its coefficient.

    Only for layers without a gate, where the activation function is applied to the output of the up projection.
    """

    def tap(feed_forward: FeedForward, rows: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: consume(feed_forward.layer, rows(output.relu()))

    with ExitStack() as hooks:
        rows = hooks.enter_context(by_row(model))
        for feed_forward in model.layers:
            hooks.callback(feed_forward.up.register_forward_hook(tap(feed_forward, rows)).remove)
        yield


@contextmanager
def read_residuals(model: CodeModel, consume: Consume) -> Iterator[None]:
    """Call `consume(layer, residual)` with the residual after each block, [rows, tokens, width], in every forward pass."""

    def tap(layer: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        return lambda _module, _inputs, output: consume(layer, output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        for feed_forward in model.layers:
            hooks.callback(feed_forward.block.register_forward_hook(tap(feed_forward.layer)).remove)
        yield


@dataclass
class MaskReport:
    """What changes of coefficients really did."""

    keys: int = 0
    rows: list[int] = field(default_factory=list)
    """Masked keys of each row."""
    positions: int = 0
    """Token positions of the first changed layer that were changed; of an encoder–decoder, of the first in each stack."""
    steps: dict[int, int] = field(default_factory=dict)
    """Forward passes seen by each changed layer."""
    passed: dict[int, int] = field(default_factory=dict)
    """Token positions that passed through the first changed layer of each stack."""


@contextmanager
def change_coefficients(model: CodeModel, changes: Mapping[int, Change]) -> Iterator[MaskReport]:
    """Replace a layer's coefficients by `changes[layer](coefficients)` in every forward of the block.

    Coefficients are [rows, tokens, keys]; a change must not write to the tensor that it is given. Layers are numbered as
    in `every_layer`.

    Raises:
        MaskNotApplied: one of the layers saw no forward pass, or fewer than the others.
    """
    report = MaskReport(steps=dict.fromkeys(changes, 0))
    if not changes:
        yield report
        return
    stacks = _by_stack(model, changes)
    report.passed = {min(layers): 0 for layers in stacks}

    def tap(
        layer: int, change: Change, rows: Callable[[Tensor], Tensor]
    ) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def replace(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            coefficients = rows(inputs[0])
            report.steps[layer] += 1
            if layer in report.passed:
                report.passed[layer] += coefficients.shape[1]
            return (change(coefficients).view_as(inputs[0]), *inputs[1:])

        return replace

    with ExitStack() as hooks:
        rows = hooks.enter_context(by_row(model))
        for layer, change in changes.items():
            hooks.callback(model.every_layer[layer].down.register_forward_pre_hook(tap(layer, change, rows)).remove)
        yield report
    report.positions = sum(report.passed.values())
    # reached only without an exception; a layer that some pass skipped would be a mask that silently did nothing
    for layers in stacks:
        seen = {layer: report.steps[layer] for layer in layers}
        if len(set(seen.values())) != 1 or 0 in seen.values():
            raise MaskNotApplied(f"the masks on layers {sorted(seen)} did not act on every pass: passes seen {seen}")


def _by_stack(model: CodeModel, layers: Iterable[int]) -> list[list[int]]:
    """Numbers of layers, those of the stack that is read and those of the other, as far as there are any."""
    found = sorted(layers)
    parts = [[each for each in found if (each < len(model.layers)) == own] for own in (True, False)]
    return [part for part in parts if part]


@contextmanager
def mask_coefficients(
    model: CodeModel,
    rows: Sequence[Sequence[Mask]],
    positions: range | None = None,
    other_positions: range | None = None,
) -> Iterator[MaskReport]:
    """Apply masks in every forward of the block, each row of the batch its own.

    Args:
        model: the model.
        rows: the masks of each row of the batches to come; a row without masks stays exactly as it is.
        positions: token positions at which the masks act, counted over all forwards of the block; None: at all.
        other_positions: the same for the masks on keys of an encoder–decoder's other stack.

    Raises:
        MaskNotApplied: a layer with masks saw no forward pass, or fewer than the others.
    """
    by_layer: dict[int, dict[int, dict[int, Operation]]] = {}
    for row, masks in enumerate(rows):
        for mask in masks:
            by_layer.setdefault(model.number(mask.key), {}).setdefault(mask.key.index, {})[row] = mask.operation
    changes = {layer: _change(model, keys, len(rows)) for layer, keys in sorted(by_layer.items())}
    places = {layer: positions if layer < len(model.layers) else other_positions for layer in changes}
    changes = {layer: _only_at(places[layer], change) for layer, change in changes.items()}
    with change_coefficients(model, changes) as report:
        report.keys = sum(map(len, by_layer.values()))
        report.rows = [len({mask.key for mask in masks}) for masks in rows]
        yield report
    report.positions = sum(
        n if at is None else len(range(n)[at.start : at.stop])
        for layer, n in report.passed.items()
        for at in [places[layer]]
    )


def _only_at(positions: range | None, change: Change) -> Change:
    """The change at some positions; the tokens of later calls follow those of earlier ones."""
    if positions is None:
        return change
    passed = 0

    def apply(coefficients: Tensor) -> Tensor:
        nonlocal passed
        there = coefficients.shape[1]
        first, last = (min(max(end - passed, 0), there) for end in (positions.start, positions.stop))
        passed += there
        if first >= last:
            return coefficients
        parts = coefficients[:, :first], change(coefficients[:, first:last]), coefficients[:, last:]
        return torch.cat(parts, dim=1)

    return apply


def _change(model: CodeModel, keys: Mapping[int, Mapping[int, Operation]], rows: int) -> Change:
    """What the masks of one layer do to its coefficients; `keys[index][row]` is the operation on a key in a row.

    This is the one place where an operation becomes arithmetic: a factor and a number in place of the product.
    """
    index = torch.tensor(list(keys), device=model.device)
    # [rows, 1, masked keys]; a factor of 1 leaves the rows that do not mask the key unchanged to the last bit
    table = [[_arithmetic(key.get(row, Scale(1.0))) for key in keys.values()] for row in range(rows)]
    factor, fixed = (
        torch.tensor([[pair[part] for pair in row] for row in table], dtype=model.dtype, device=model.device)[:, None]
        for part in (0, 1)
    )
    is_fixed = ~fixed.isnan()
    any_fixed = bool(is_fixed.any())

    def apply(coefficients: Tensor) -> Tensor:
        changed = coefficients.clone()
        scaled = changed[..., index] * factor
        changed[..., index] = torch.where(is_fixed, fixed, scaled) if any_fixed else scaled
        return changed

    return apply


def _arithmetic(operation: Operation) -> tuple[float, float]:
    """The factor of the coefficient, and the number that takes its place; NaN if none does."""
    match operation:
        case Scale(factor):
            return factor, math.nan
        case Fix(value):
            return 0.0, value
        case _:
            assert_never(operation)
