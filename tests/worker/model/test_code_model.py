from pathlib import Path

import pytest
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from tests.worker.models import CODE, save_tiny


def test_normed_projections_of_all_keys_add_up_to_what_the_down_projection_does_to_the_logits(tiny: CodeModel) -> None:
    """With the final norm's scale frozen, removing the last layer's keys changes each logit by their sum."""
    ids = tiny.tokenizer(CODE[0], return_tensors="pt")["input_ids"]
    coefficients: dict[int, Tensor] = {}
    outputs: list[Tensor] = []
    hook = tiny.layers[-1].block.register_forward_hook(
        lambda _m, _i, output: outputs.append(output[0] if isinstance(output, tuple) else output)
    )
    with read_coefficients(tiny, lambda layer, c: coefficients.__setitem__(layer, c.clone())):
        tiny.run_body(ids)
    hook.remove()
    last = tiny.layers[-1]
    written = coefficients[last.layer] @ last.values
    with_keys, without_keys = outputs[0][0, -1], outputs[0][0, -1] - written[0, -1]
    weight, center = tiny.final_norm.weight, isinstance(tiny.final_norm, torch.nn.LayerNorm)
    assert isinstance(weight, Tensor)

    def at_frozen_scale(residual: Tensor) -> Tensor:
        reference = with_keys - with_keys.mean() if center else with_keys
        residual = residual - residual.mean() if center else residual
        return (residual * weight / reference.pow(2).mean().sqrt()) @ tiny.unembedding.T

    change = at_frozen_scale(with_keys) - at_frozen_scale(without_keys)
    reference = with_keys - with_keys.mean() if center else with_keys
    projected = coefficients[last.layer][0, -1] @ tiny.project(last.values, normed=True)
    assert torch.allclose(projected / reference.pow(2).mean().sqrt(), change, atol=1e-4)


def test_raw_projections_are_the_heads_product_with_the_values(tiny: CodeModel) -> None:
    head = tiny.model.get_output_embeddings().weight
    values = tiny.layers[0].values[:3]
    expected = values @ head[: tiny.facts.vocabulary].T
    assert torch.allclose(tiny.project(values, normed=False), expected)
    assert tiny.project(values, normed=True).shape == expected.shape


def test_the_head_turns_the_bodys_output_into_logits(tiny: CodeModel) -> None:
    ids = tiny.tokenizer(CODE[0], return_tensors="pt")["input_ids"]
    assert torch.allclose(tiny.head(tiny.run_body(ids)), tiny.logits(ids), atol=1e-5)


@pytest.mark.parametrize("kind", ["codegen", "llama"])
def test_projections_in_half_precision_equal_those_in_float32(kind: str, tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save_tiny(tmp_path, kind)), dtype="bfloat16"))
    values = model.layers[-1].values
    gain = model.final_norm.weight
    assert isinstance(gain, torch.Tensor)
    exact = values.double()
    if kind == "codegen":
        exact = exact - exact.mean(dim=1, keepdim=True)
    expected = (exact * gain.detach().double()) @ model.unembedding.double().T
    assert torch.allclose(model.project(values, normed=True).double(), expected, atol=1e-5)
    assert torch.equal(model.project(values, normed=True).argmax(dim=1), expected.argmax(dim=1))
