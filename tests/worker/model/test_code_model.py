from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.models import CODE, save_tiny


def head_weight(model: CodeModel) -> Tensor:
    """What each token reads of the normed residual, from the plain model's own modules."""
    plain: Any = model.model
    rows: Tensor = plain.get_output_embeddings().weight[: model.facts.vocabulary]
    if model.facts.architecture == "opt" and plain.model.decoder.project_out is not None:
        rows = rows @ plain.model.decoder.project_out.weight
    return rows / getattr(plain.config, "logits_scaling", 1.0)


def test_normed_projections_are_the_change_of_the_logits_at_a_frozen_scale(tiny: CodeModel) -> None:
    """(norm(x) - bias) · scale(x) is linear in x, so what a value adds to it is the same wherever it is added."""
    norm: Any = tiny.final_norm
    center = isinstance(norm, nn.LayerNorm)

    def unscaled(residual: Tensor) -> Tensor:
        if isinstance(norm, nn.Identity):
            return residual
        centred = residual - residual.mean(dim=-1, keepdim=True) if center else residual
        scale = (centred.square().mean(dim=-1, keepdim=True) + (norm.eps if center else _epsilon(norm))).sqrt()
        return (norm(residual) - (norm.bias if center else 0)) * scale

    added = tiny.layers[-1].writes[:4]
    residual = torch.randn(added.shape, generator=torch.Generator().manual_seed(0))
    change = (unscaled(residual + added) - unscaled(residual)) @ head_weight(tiny).T
    assert torch.allclose(tiny.project(added, normed=True), change, atol=1e-4)


def _epsilon(norm: Any) -> float:
    return float(norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)


def test_raw_projections_are_the_heads_product_with_the_values(tiny: CodeModel) -> None:
    values = tiny.layers[0].values[:3]
    assert torch.allclose(tiny.project(values, normed=False), values @ head_weight(tiny).T, atol=1e-5)


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
