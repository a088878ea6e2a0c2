"""The check at load time catches wrong entries of the table and models that do not behave as they should."""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keyscope.contract.keys import KeyId, Mask
from keyscope.worker.model.check import check_model
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.errors import ModelCheckFailed, ModelUnreadable
from keyscope.worker.model.families import FAMILIES
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import mask_coefficients
from tests.worker.models import save_tiny

LoadTiny = Callable[[str], CodeModel]
FolderOf = Callable[[str], Path]


def with_layer(model: CodeModel, number: int, **changes: Any) -> CodeModel:
    layers = list(model.layers)
    layers[number] = dataclasses.replace(layers[number], **changes)
    return dataclasses.replace(model, layers=tuple(layers))


def test_a_good_model_passes_whichever_key_is_drawn(tiny: CodeModel) -> None:
    before = {name: parameter.clone() for name, parameter in tiny.model.named_parameters()}
    for seed in range(3):
        check_model(tiny, seed)
    assert all(torch.equal(parameter, before[name]) for name, parameter in tiny.model.named_parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_mask_that_does_nothing_fails_in_every_type(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path, "codegen")
    load_model(ModelSource(str(folder), dtype=dtype))
    monkeypatch.setattr("keyscope.worker.model.check.mask_coefficients", lambda *_: nullcontext())
    with pytest.raises(ModelCheckFailed, match="zeroing its value"):
        load_model(ModelSource(str(folder), dtype=dtype))


WRONG_ENTRIES = [
    ("llama", {"down": "mlp.up_proj"}, "shape"),
    ("llama", {"down": "self_attn.o_proj"}, "shape"),
    ("llama", {"gate": "mlp.up_proj", "up": "mlp.gate_proj"}, "keys, gate and activation"),
    ("llama", {"activation": "gelu"}, "keys, gate and activation"),
    ("llama", {"norm": "input_layernorm"}, "norm"),
    ("codegen", {"up": "attn.out_proj"}, "shape"),
    ("gpt2", {"down": "attn.c_proj", "up": "attn.c_proj"}, "zeroing its key"),
    ("gpt2", {"norm": "ln_1"}, "norm"),
    ("gpt2", {"final_norm": "transformer.h.0.ln_1"}, "lens"),
    ("gpt_neox", {"norm": "input_layernorm"}, "norm"),
    ("phi", {"final_norm": "model.layers.2.input_layernorm"}, "lens"),
    ("gemma2", {"post_norm": None}, "adds something else to the residual"),
    ("gemma2", {"softcap": None}, "lens"),
    ("gemma2", {"norm": "post_attention_layernorm"}, "norm"),
    ("granite", {"multiplier": 1.0}, "adds something else to the residual"),
    ("granite", {"divisor": 1.0}, "lens"),
    ("olmo2", {"norm": "post_attention_layernorm"}, "norm"),
    ("opt", {"final_norm": None}, "lens"),
    ("opt", {"flattened": False}, "expected once per layer"),
    ("falcon", {"norm": "ln_attn"}, "cannot be loaded"),
]


@pytest.mark.parametrize(("kind", "entry", "found"), WRONG_ENTRIES)
def test_a_wrong_entry_of_the_table_fails(
    kind: str, entry: dict[str, Any], found: str, tiny_folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = FAMILIES[kind]
    monkeypatch.setitem(FAMILIES, kind, lambda config: dataclasses.replace(right(config), **entry))
    with pytest.raises((ModelCheckFailed, ModelUnreadable), match=found):
        load_model(ModelSource(str(tiny_folder_of(kind))))


def test_a_twisted_final_norm_fails(tiny: CodeModel) -> None:
    if isinstance(tiny.final_norm, nn.Identity):
        return
    twisted = type(tiny.final_norm).__new__(type(tiny.final_norm))
    twisted.__dict__ = dict(tiny.final_norm.__dict__)
    weight = tiny.final_norm.weight
    assert isinstance(weight, torch.Tensor)
    twisted._parameters = dict(tiny.final_norm._parameters) | {"weight": nn.Parameter(weight * 1.01)}
    with pytest.raises(ModelCheckFailed, match="lens"):
        check_model(dataclasses.replace(tiny, final_norm=twisted))


def test_layers_in_a_wrong_order_fail(tiny: CodeModel) -> None:
    first, second, *rest = tiny.layers
    swapped = (second, first, *rest)
    with pytest.raises((ModelCheckFailed, RuntimeError), match=r"called as|unflatten"):
        check_model(dataclasses.replace(tiny, layers=swapped))


def test_a_layer_that_is_left_out_or_counted_twice_fails(tiny: CodeModel) -> None:
    twice = (*tiny.layers[:2], dataclasses.replace(tiny.layers[1], layer=2))
    with pytest.raises(ModelCheckFailed):
        check_model(dataclasses.replace(tiny, layers=twice))


def test_a_down_projection_that_is_not_called_fails(load_tiny: LoadTiny) -> None:
    model = deepcopy(load_tiny("codegen"))
    mlp = model.layers[1].block.mlp

    def fused(hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(mlp.act(mlp.fc_in(hidden)), mlp.fc_out.weight, mlp.fc_out.bias)

    mlp.forward = fused
    with pytest.raises(ModelCheckFailed, match="expected once per layer"):
        check_model(model)


def test_values_that_are_not_those_the_model_uses_fail(load_tiny: LoadTiny) -> None:
    model = load_tiny("gpt2")
    for number, layer in enumerate(model.layers):
        down = layer.down
        model = with_layer(model, number, down=_Elsewhere(down))
    with pytest.raises(ModelCheckFailed, match="zeroing its value"):
        check_model(model)


def test_keys_that_are_not_those_the_model_uses_fail(load_tiny: LoadTiny) -> None:
    model = load_tiny("gpt2")
    shuffled = torch.randperm(model.layers[0].n_keys, generator=torch.Generator().manual_seed(0))
    for number, layer in enumerate(model.layers):
        model = with_layer(model, number, up=_Shuffled(layer.up, shuffled))
    with pytest.raises(ModelCheckFailed, match="zeroing its key"):
        check_model(model)


class _Elsewhere(nn.Module):
    """The hooks of the real module with the weights of a copy."""

    def __init__(self, real: nn.Module) -> None:
        super().__init__()
        self.__dict__["register_forward_pre_hook"] = real.register_forward_pre_hook
        self.weight = nn.Parameter(real.weight.detach().clone().T, requires_grad=False)  # type: ignore[union-attr,operator]


class _Shuffled(nn.Module):
    """The hooks of the real module with its rows in another order."""

    def __init__(self, real: nn.Module, order: torch.Tensor) -> None:
        super().__init__()
        self.__dict__["register_forward_pre_hook"] = real.register_forward_pre_hook
        self.weight = nn.Parameter(real.weight.detach().T[order], requires_grad=False)  # type: ignore[union-attr,operator]


def test_layers_know_their_parts(load_tiny: LoadTiny) -> None:
    layer: FeedForward = load_tiny("llama").layers[0]
    assert layer.gate is not None
    assert layer.keys is not None
    assert torch.equal(layer.keys, layer.gate.weight)  # type: ignore[arg-type]
    assert layer.ups is not None
    assert torch.equal(layer.ups, layer.up.weight)  # type: ignore[arg-type]
    assert load_tiny("gpt2").layers[0].ups is None


def test_where_the_activation_of_zero_is_not_zero_the_coefficient_is_masked_and_not_the_key(tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save_tiny(tmp_path, "gpt2", activation_function="sigmoid"))))
    layer, key = model.layers[1], KeyId(1, 5)
    ids = torch.tensor([[3, 4, 5]])
    with mask_coefficients(model, [[Mask(key)]]):
        masked = model.logits(ids)
    assert layer.biases is not None
    layer.keys[5], layer.biases[5] = 0, 0
    assert not torch.allclose(model.logits(ids), masked, atol=1e-3)
    layer.values[5] = 0
    assert torch.allclose(model.logits(ids), masked, atol=1e-5)
