"""Checking at load time, by experiment on one prompt, that a model behaves as its family's entry says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers.activations import ACT2FN

from keyscope.contract.keys import KeyId, Mask
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.errors import ModelCheckFailed
from keyscope.worker.model.taps import mask_coefficients, read_coefficients

PROMPT = "def add(left, right):\n    return left + right\n"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 0.25, torch.float16: 0.02}
"""Largest difference allowed between two computations of a logit, relative to the largest logit (at least 1).

The two differ in the order of their sums only, so the bounds follow from each dtype's precision and the depth of models.
"""


@torch.no_grad()
def check_model(model: CodeModel, seed: int = 0) -> None:
    """Check hooks, masking, the input of the keys, and the last layer's lens.

    Raises:
        ModelCheckFailed: hooks do not fire once per layer; masking a coefficient differs from zeroing its value or key;
            the keys do not read the norm's output; or the last block's output through final norm and head differs from
            the logits.
    """
    ids = model.tokenizer(PROMPT, return_tensors="pt")["input_ids"].to(model.device)
    _check_shapes(model)
    _check_hooks(model, ids)
    _check_mask(model, ids, seed)
    _check_norms(model, ids)
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
    with mask_coefficients(model, [[Mask(KeyId(layer, index))]]):
        masked = model.logits(ids)
    weights = {"value": [feed_forward.values[index]]}
    if float(ACT2FN[model.facts.activation](torch.zeros(()))) == 0:
        weights["key"] = _key_of(feed_forward, index)
    for name, of_key in weights.items():
        with _zeroed(*of_key):
            zeroed = model.logits(ids)
        what = f"masking {KeyId(layer, index)} differs from zeroing its {name}"
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
    """The keys of every layer must read exactly the output of its norm."""
    normed: dict[int, Tensor] = {}
    read: dict[int, Tensor] = {}
    hooks = []
    for each in model.layers:
        hooks.append(each.norm.register_forward_hook(_keep_output(normed, each.layer)))
        hooks.append(each.up.register_forward_pre_hook(_keep_input(read, each.layer)))
    try:
        model.run_body(ids)
    finally:
        for hook in hooks:
            hook.remove()
    for layer in range(len(model.layers)):
        if layer not in read or layer not in normed or not torch.equal(read[layer], normed[layer]):
            raise ModelCheckFailed(
                f"the keys of layer {layer} do not read the output of the norm named in the table of families"
            )


def _keep_output(into: dict[int, Tensor], layer: int) -> Callable[[object, object, Tensor], None]:
    return lambda _module, _inputs, output: into.__setitem__(layer, output.clone())


def _keep_input(into: dict[int, Tensor], layer: int) -> Callable[[object, tuple[Tensor, ...]], None]:
    return lambda _module, inputs: into.__setitem__(layer, inputs[0].clone())


def _check_lens(model: CodeModel, ids: Tensor) -> None:
    outputs: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    hook = model.layers[-1].block.register_forward_hook(keep)
    try:
        logits = model.logits(ids)
    finally:
        hook.remove()
    lens = model.head(model.final_norm(outputs[0]))
    _compare(model, lens, logits, "the last layer's lens differs from the logits")


def _compare(model: CodeModel, one: Tensor, other: Tensor, what: str) -> None:
    scale = max(1.0, _largest(other))
    error = _largest(one - other)
    allowed = TOLERANCE[model.dtype] * scale
    if not error <= allowed:  # not `>`: an error of NaN has to fail too
        raise ModelCheckFailed(f"{what} by {error:.3g}, more than the {allowed:.3g} allowed for {model.dtype}")


def _largest(numbers: Tensor) -> float:
    return float(numbers.abs().max())
