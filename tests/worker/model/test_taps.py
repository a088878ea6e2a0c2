from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from keyscope.contract.keys import Fix, KeyId, Mask, Scale
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import MaskNotApplied
from keyscope.worker.model.taps import change_coefficients, mask_coefficients, read_coefficients
from tests.worker.live.driving import count_hooks
from tests.worker.models import CODE, LAYERS

LoadTiny = Callable[[str], CodeModel]
MASKS = [Mask(KeyId(0, 3)), Mask(KeyId(1, 0)), Mask(KeyId(1, 47)), Mask(KeyId(2, 20))]


def ids_of(model: CodeModel, rows: int = 1) -> Tensor:
    return model.tokenizer(CODE[1], return_tensors="pt")["input_ids"][:, :24].repeat(rows, 1)


def masked_logits(model: CodeModel, masks: list[Mask]) -> Tensor:
    with mask_coefficients(model, [masks]):
        return model.logits(ids_of(model))


def test_coefficients_read_are_the_input_of_the_down_projection(tiny: CodeModel) -> None:
    seen: dict[int, Tensor] = {}
    fed: dict[int, Tensor] = {}
    hooks = [
        layer.down.register_forward_hook(
            lambda _m, inputs, _o, number=layer.layer: fed.__setitem__(number, inputs[0].reshape(2, 24, -1))
        )
        for layer in tiny.layers
    ]
    with read_coefficients(tiny, lambda layer, coefficients: seen.__setitem__(layer, coefficients.clone())):
        tiny.run_body(ids_of(tiny, rows=2))
    for hook in hooks:
        hook.remove()
    assert list(seen) == list(range(LAYERS))
    assert all(
        seen[layer].shape == (2, 24, tiny.layers[layer].n_keys) and torch.equal(seen[layer], fed[layer])
        for layer in seen
    )


def test_a_coefficient_is_the_activation_of_the_keys_product_with_its_input(tiny: CodeModel) -> None:
    inputs: dict[int, Tensor] = {}
    seen: dict[int, Tensor] = {}
    layer = tiny.layers[1]
    hook = layer.up.register_forward_pre_hook(lambda _m, given: inputs.__setitem__(1, given[0].clone()))
    with read_coefficients(tiny, lambda layer, coefficients: seen.__setitem__(layer, coefficients.clone())):
        tiny.run_body(ids_of(tiny))
    hook.remove()
    products = inputs[1] @ layer.keys.T + (layer.biases if layer.biases is not None else 0)
    expected = {
        "gelu_new": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "gelu_pytorch_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "gelu": torch.nn.functional.gelu,
        "silu": torch.nn.functional.silu,
        "relu": torch.nn.functional.relu,
    }[tiny.facts.activation](products)
    if layer.ups is not None:
        expected = expected * (inputs[1] @ layer.ups.T)
    assert torch.allclose(seen[1], expected.view_as(seen[1]), atol=1e-5)


def test_masking_equals_zeroing_values_and_equals_zeroing_keys_with_their_biases(own_tiny: CodeModel) -> None:
    masked = masked_logits(own_tiny, MASKS)
    kept = {mask: own_tiny.layers[mask.key.layer].values[mask.key.index].clone() for mask in MASKS}
    for mask in MASKS:
        own_tiny.layers[mask.key.layer].values[mask.key.index] = 0
    assert torch.allclose(masked, own_tiny.logits(ids_of(own_tiny)), atol=1e-5)
    for mask in MASKS:
        layer, index = own_tiny.layers[mask.key.layer], mask.key.index
        layer.values[index] = kept[mask]
        layer.keys[index] = 0
        if layer.biases is not None:
            layer.biases[index] = 0
    assert torch.allclose(masked, own_tiny.logits(ids_of(own_tiny)), atol=1e-5)


def test_masking_changes_the_logits(tiny: CodeModel) -> None:
    assert not torch.allclose(masked_logits(tiny, MASKS), tiny.logits(ids_of(tiny)), atol=1e-2)


def test_a_factor_multiplies_the_value(own_tiny: CodeModel) -> None:
    scaled = masked_logits(own_tiny, [Mask(KeyId(1, 7), Scale(-2.5))])
    own_tiny.layers[1].values[7] *= -2.5
    assert torch.allclose(scaled, own_tiny.logits(ids_of(own_tiny)), atol=1e-4)


def test_a_number_takes_the_coefficients_place_in_the_rows_that_say_so(tiny: CodeModel) -> None:
    seen: list[Tensor] = []
    rows = [[Mask(KeyId(1, 3), Fix(0.75)), Mask(KeyId(1, 4), Scale(0.5))], [Mask(KeyId(1, 4), Fix(-2.0))], []]

    def keep(layer: int, found: Tensor) -> None:
        if layer == 1:
            seen.append(found.clone())

    with mask_coefficients(tiny, rows), read_coefficients(tiny, keep):
        tiny.run_body(ids_of(tiny, rows=3))
    with read_coefficients(tiny, keep):
        tiny.run_body(ids_of(tiny, rows=3))
    masked, plain = seen
    assert (masked[0, :, 3] == 0.75).all()
    assert torch.equal(masked[0, :, 4], plain[0, :, 4] * 0.5)
    assert (masked[1, :, 4] == -2.0).all()
    assert torch.equal(masked[2], plain[2])
    untouched = [index for index in range(tiny.layers[1].n_keys) if index not in (3, 4)]
    assert torch.equal(masked[..., untouched], plain[..., untouched])


def test_rows_are_masked_each_by_its_own_masks(tiny: CodeModel) -> None:
    ids = ids_of(tiny, rows=3)
    plain = tiny.logits(ids)
    with mask_coefficients(tiny, [[], MASKS[:2], MASKS[2:]]) as report:
        rows = tiny.logits(ids)
    assert torch.equal(rows[0], plain[0])
    assert torch.allclose(rows[1], masked_logits(tiny, MASKS[:2])[0], atol=1e-5)
    assert torch.allclose(rows[2], masked_logits(tiny, MASKS[2:])[0], atol=1e-5)
    assert (report.keys, report.positions, report.steps) == (4, 24, {0: 1, 1: 1, 2: 1})


def test_a_factor_of_one_does_not_change_a_bit(tiny: CodeModel) -> None:
    assert torch.equal(masked_logits(tiny, [Mask(mask.key, Scale(1.0)) for mask in MASKS]), tiny.logits(ids_of(tiny)))


def test_the_report_counts_keys_positions_and_passes(load_tiny: LoadTiny) -> None:
    model = load_tiny("llama")
    with mask_coefficients(model, [[], MASKS[1:3]]) as report:
        for _ in range(3):
            model.run_body(ids_of(model, rows=2))
    assert (report.keys, report.positions, report.steps) == (2, 72, {1: 3})


def test_masks_act_only_at_the_positions_asked_for(tiny: CodeModel) -> None:
    seen: list[Tensor] = []
    ids = ids_of(tiny)
    with (
        mask_coefficients(tiny, [[Mask(KeyId(0, 3))]], range(8, 20)) as report,
        read_coefficients(tiny, lambda layer, coefficients: seen.append(coefficients[0, :, 3]) if layer == 0 else None),
    ):
        for part in ids.split([10, 6, 8], dim=1):  # three forwards, one of them within the span
            tiny.run_body(part)
    plain: list[Tensor] = []
    with read_coefficients(tiny, lambda layer, c: plain.append(c[0, :, 3].clone()) if layer == 0 else None):
        for part in ids.split([10, 6, 8], dim=1):
            tiny.run_body(part)
    masked, unmasked = torch.cat(seen), torch.cat(plain)
    assert unmasked[8:20].any()
    assert torch.equal(masked, torch.where(torch.tensor([8 <= at < 20 for at in range(24)]), 0, unmasked))
    assert (report.positions, report.rows) == (12, [1])


def test_masks_without_a_forward_pass_are_an_error(load_tiny: LoadTiny) -> None:
    with pytest.raises(MaskNotApplied, match=r"layers \[0, 1, 2\]"), mask_coefficients(load_tiny("gpt2"), [MASKS]):
        pass


def test_without_masks_there_is_no_error_and_no_hook(load_tiny: LoadTiny) -> None:
    model = load_tiny("gpt2")
    with mask_coefficients(model, [[], []]) as report:
        assert count_hooks(model.model) == 0
    assert (report.keys, report.positions) == (0, 0)


def test_hooks_are_gone_after_the_block_and_after_exceptions_anywhere(tiny: CodeModel) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("in a hook")

    with mask_coefficients(tiny, [MASKS]), read_coefficients(tiny, lambda _layer, _coefficients: None):
        assert count_hooks(tiny.model) == 2 * LAYERS + 2 * tiny.family.flattened
        tiny.run_body(ids_of(tiny))
    assert count_hooks(tiny.model) == 0
    with pytest.raises(ValueError, match="in a hook"), mask_coefficients(tiny, [MASKS]), read_coefficients(tiny, fail):
        tiny.run_body(ids_of(tiny))
    assert count_hooks(tiny.model) == 0
    with pytest.raises(KeyError), mask_coefficients(tiny, [MASKS]):
        raise KeyError
    assert count_hooks(tiny.model) == 0
    with pytest.raises(IndexError), mask_coefficients(tiny, [[Mask(KeyId(1, 999))]]):
        tiny.run_body(ids_of(tiny))
    assert count_hooks(tiny.model) == 0


def test_changed_coefficients_do_what_masks_do(tiny: CodeModel) -> None:
    factors: dict[int, Tensor] = {}
    for mask in MASKS:
        factors.setdefault(mask.key.layer, torch.ones(tiny.layers[0].n_keys))[mask.key.index] = 0.25
    changes = {layer: (lambda coefficients, factor=factor: coefficients * factor) for layer, factor in factors.items()}
    with change_coefficients(tiny, changes):
        changed = tiny.logits(ids_of(tiny))
    assert torch.equal(changed, masked_logits(tiny, [Mask(mask.key, Scale(0.25)) for mask in MASKS]))
    assert not torch.equal(changed, tiny.logits(ids_of(tiny)))
    assert count_hooks(tiny.model) == 0


def test_a_change_that_no_pass_saw_is_an_error_and_an_error_leaves_no_hook(tiny: CodeModel) -> None:
    with pytest.raises(MaskNotApplied, match=r"layers \[0, 2\]"), change_coefficients(tiny, dict.fromkeys((0, 2), abs)):
        pass
    with pytest.raises(ZeroDivisionError), change_coefficients(tiny, {1: lambda _coefficients: 1 // 0}):
        tiny.run_body(ids_of(tiny))
    assert count_hooks(tiny.model) == 0
    with change_coefficients(tiny, {}):
        assert torch.equal(tiny.logits(ids_of(tiny)), tiny.logits(ids_of(tiny)))
