"""Checking at load time, by experiment on one prompt, that a model behaves as its family's entry says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from keyscope.contract.keys import Mask
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.errors import ModelCheckFailed
from keyscope.worker.model.norms import passed, scales
from keyscope.worker.model.taps import (
    Change,
    by_row,
    change_coefficients,
    mask_coefficients,
    read_coefficients,
    read_residuals,
)

PROMPT = "def add(left, right):\n    return left + right\n"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 0.25, torch.float16: 0.02}
"""Largest difference allowed between two computations of a logit, relative to the largest logit (at least 1).

The two differ in the order of their sums only, so the bounds follow from each dtype's precision and the depth of models.
"""


@torch.no_grad()
def check_model(model: CodeModel, seed: int = 0) -> None:
    """Check hooks, masking, what the keys read, what a layer adds to the residual, the final norm and the last lens.

    Raises:
        ModelCheckFailed: hooks do not fire once per layer; masking a coefficient differs from zeroing its value or key;
            the keys do not read the norm's output or coefficients do not follow from it; a layer adds something else to
            the residual; or the last block's output through final norm and head differs from the logits.
    """
    ids = model.tokenizer(PROMPT, return_tensors="pt")["input_ids"].to(model.device)
    _check_shapes(model)
    _check_hooks(model, ids)
    _check_mask(model, ids, seed)
    _check_norms(model, ids)
    _check_sum(model, ids, seed)
    _check_gain(model)
    if model.facts.stack != "E":  # what an encoder has read is no logit yet
        _check_lens(model, ids)


def _check_shapes(model: CodeModel) -> None:
    for each in model.layers:
        if each.keys.shape != each.values.shape:
            raise ModelCheckFailed(
                f"layer {each.layer} has keys of shape {tuple(each.keys.shape)} and values of {tuple(each.values.shape)}"
            )


def _check_hooks(model: CodeModel, ids: Tensor) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []
    with read_coefficients(model, lambda layer, coefficients: seen.append((layer, tuple(coefficients.shape)))):
        model.run_body(ids)
    expected = [(each.layer, (*ids.shape, each.n_keys)) for each in model.layers]
    if seen != expected:
        raise ModelCheckFailed(f"the down projections were called as {seen}, expected once per layer as {expected}")


def _check_mask(model: CodeModel, ids: Tensor, seed: int) -> None:
    """Masking a coefficient must equal zeroing the key's value, and its key vector if the activation maps 0 to 0.

    Tested on the key that writes most in a random layer: on most others, masking hardly changes anything, so a mask
    without effect would pass.
    """
    active: dict[int, Tensor] = {}
    with read_coefficients(model, lambda layer, c: active.__setitem__(layer, c.abs().amax(dim=(0, 1)).float())):
        plain = model.logits(ids)
    layer = int(torch.randint(len(model.layers), (), generator=torch.Generator().manual_seed(seed)))
    feed_forward = model.layers[layer]
    index = int((active[layer] * feed_forward.values.float().norm(dim=1)).argmax())
    key = model.facts.key(layer, index)
    with mask_coefficients(model, [[Mask(key)]]):
        masked = model.logits(ids)
    weights = {"value": [feed_forward.values[index]]}
    if float(ACT2FN[model.facts.activation](torch.zeros(()))) == 0:
        weights["key"] = _key_of(feed_forward, index)
    for name, of_key in weights.items():
        with _zeroed(*of_key):
            zeroed = model.logits(ids)
        what = f"masking {key} differs from zeroing its {name}"
        _compare(model, masked, zeroed, what)
        # in half precision the tolerance exceeds the effect of one key, so a mask that does nothing would pass it
        effect, error = _largest(zeroed - plain), _largest(masked - zeroed)
        if error > max(effect / 2, TOLERANCE[torch.float32] * max(1.0, _largest(plain))):
            raise ModelCheckFailed(f"{what} by {error:.3g}, while zeroing changes logits by {effect:.3g}")


def _key_of(feed_forward: FeedForward, index: int) -> list[Tensor]:
    biases = feed_forward.biases
    return [feed_forward.keys[index], *([biases[index]] if biases is not None else [])]


@contextmanager
def _zeroed(*weights: Tensor) -> Iterator[None]:
    kept = [weight.clone() for weight in weights]
    try:
        for weight in weights:
            weight.zero_()
        yield
    finally:
        for weight, before in zip(weights, kept, strict=True):
            weight.copy_(before)


def _check_norms(model: CodeModel, ids: Tensor) -> None:
    """The keys of every layer must read exactly the output of its norm, and coefficients must follow from what they read.

    Then gate and up cannot be confused, nor the activation. In half precision the model rounds on the way.
    """
    normed: dict[int, Tensor] = {}
    read: dict[int, Tensor] = {}
    coefficients: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        hooks.enter_context(read_coefficients(model, lambda layer, c: coefficients.__setitem__(layer, c.clone())))
        for each in model.layers:
            if each.norm is not None:
                hooks.callback(each.norm.register_forward_hook(_keep_output(normed, each.layer)).remove)
            hooks.callback(each.up.register_forward_pre_hook(_keep_input(read, each.layer)).remove)
        model.run_body(ids)
    activation = ACT2FN[model.facts.activation]
    for each in model.layers:
        inputs = read.get(each.layer)
        if inputs is None or (each.norm is not None and not _same(inputs, normed.get(each.layer))):
            raise ModelCheckFailed(
                f"the keys of layer {each.layer} do not read the output of the norm named in the table of families"
            )
        found = coefficients[each.layer]
        _compare(model, found, _coefficients(each, inputs, activation).view_as(found), _NOT_THOSE.format(each.layer))


_NOT_THOSE = "the coefficients of layer {} differ from those that keys, gate and activation give"


def _same(inputs: Tensor, normed: Tensor | None) -> bool:
    """Equal to the last bit; one of them may have rows and tokens as one dimension."""
    return normed is not None and torch.equal(inputs.flatten(0, -2), normed.flatten(0, -2))


def _coefficients(layer: FeedForward, inputs: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Coefficients by their definition, from the vectors that the keys read."""
    found = activation(linear(inputs, layer.keys, layer.biases))
    return found if layer.ups is None else found * linear(inputs, layer.ups, layer.up_biases)


def _keep_output(into: dict[int, Tensor], layer: int) -> Callable[[object, object, Tensor], None]:
    return lambda _module, _inputs, output: into.__setitem__(layer, output.clone())


def _keep_input(into: dict[int, Tensor], layer: int) -> Callable[[object, tuple[Tensor, ...]], None]:
    return lambda _module, inputs: into.__setitem__(layer, inputs[0].clone())


def _check_sum(model: CodeModel, ids: Tensor, seed: int) -> None:
    """What a layer is said to add to the residual must be all that its keys change in its block's output.

    Tried on a random layer: the output without that part has to stay the same when all its coefficients become 0.
    """
    if model.family.renormed:
        return
    layer = model.layers[int(torch.randint(len(model.layers), (), generator=torch.Generator().manual_seed(seed)))]
    rest, terms = _rest(model, layer, ids, {})
    without_keys, _ = _rest(model, layer, ids, {layer.layer: torch.zeros_like})
    what = f"layer {layer.layer} adds something else to the residual than the table of families says:"
    # some layers write numbers in the thousands at a text's start, and a difference is as exact as its terms
    _compare(model, rest, without_keys, f"{what} the rest changes with its coefficients,", least=terms)


def _rest(model: CodeModel, layer: FeedForward, ids: Tensor, changes: dict[int, Change]) -> tuple[Tensor, float]:
    """The output of a layer's block without what the layer is said to add, and the largest number in both."""
    written: list[Tensor] = []
    after: list[Tensor] = []
    with ExitStack() as hooks:
        hooks.enter_context(change_coefficients(model, changes))
        rows = hooks.enter_context(by_row(model))
        hooks.callback(layer.written_by.register_forward_hook(lambda _m, _i, out: written.append(out.clone())).remove)
        hooks.enter_context(read_residuals(model, lambda at, out: after.append(out) if at == layer.layer else None))
        model.run_body(ids)
    added = rows(written[0]) * layer.multiplier
    return after[0] - added, max(_largest(after[0]), _largest(added))


def _check_gain(model: CodeModel) -> None:
    """The final norm must centre, scale and multiply as contributions of keys suppose."""
    width = model.facts.width
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)
    bias = getattr(model.final_norm, "bias", None)
    exact = vectors.to(torch.promote_types(model.dtype, torch.float32))
    expected = passed(model.final_norm, exact) / scales(model.final_norm, exact)[:, None]
    found = model.final_norm(vectors)
    if model.dtype == torch.float64:  # RMSNorms compute in float32 all the same
        expected = expected.float()
    _compare(
        model,
        found,
        expected + (0 if bias is None else bias.to(expected.dtype)),
        "the final norm differs from its formula",
    )


def _check_lens(model: CodeModel, ids: Tensor) -> None:
    outputs: list[Tensor] = []
    with read_residuals(model, lambda _layer, residual: outputs.append(residual)):
        logits = model.logits(ids)
    lens = model.head(model.final_norm(outputs[-1]))
    _compare(model, lens, logits, "the last layer's lens differs from the logits")


def _compare(model: CodeModel, one: Tensor, other: Tensor, what: str, least: float = 1.0) -> None:
    scale = max(least, 1.0, _largest(other))
    error = _largest(one - other)
    allowed = max(TOLERANCE[model.dtype], TOLERANCE[other.dtype]) * scale
    if not error <= allowed:  # not `>`: an error of NaN has to fail too
        raise ModelCheckFailed(f"{what} by {error:.3g}, more than the {allowed:.3g} allowed for {model.dtype}")


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max())
