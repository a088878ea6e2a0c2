"""Value projections and weight statistics against plain numpy on the weights' own tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM

from keyscope.contract.runfile import WEIGHT_STATISTICS
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.values import LISTED, ValueReader
from tests.worker.models import save_tiny


def _parts(model: torch.nn.Module, kind: str) -> dict[str, np.ndarray]:
    """Keys, values, head and gain of layer 1, written out per architecture."""
    if kind == "llama":
        mlp = model.model.layers[1].mlp
        found = {"key": mlp.gate_proj.weight, "up": mlp.up_proj.weight, "value": mlp.down_proj.weight.T}
        found |= {"head": model.lm_head.weight, "gain": model.model.norm.weight}
    else:
        mlp = model.transformer.h[1].mlp
        found = {"key": mlp.c_fc.weight.T, "value": mlp.c_proj.weight, "bias": mlp.c_fc.bias}
        found |= {"head": model.lm_head.weight, "gain": model.transformer.ln_f.weight}
    return {name: tensor.detach().double().numpy() for name, tensor in found.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_tokens_and_statistics_equal_numpy(tmp_path: Path, kind: str) -> None:
    folder = save_tiny(tmp_path, kind)
    loaded = load_model(ModelSource(str(folder), device="cpu"))
    vocabulary = loaded.facts.vocabulary
    counts = np.arange(vocabulary) % 17
    lists, statistics = ValueReader(loaded, counts).read(loaded.layers[1])
    part = _parts(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), kind)
    value, head = part["value"], part["head"][:vocabulary]
    centred = value - value.mean(axis=1, keepdims=True) if kind == "gpt2" else value
    logits = {"raw": value @ head.T, "normed": (centred * part["gain"]) @ head.T}
    assert {(each.projection, each.direction) for each in lists} == {
        (projection, direction) for projection in logits for direction in ("promoted", "suppressed")
    }
    for each in lists:
        sign = 1 if each.direction == "promoted" else -1
        expected = -np.sort(-sign * logits[each.projection], axis=1)[:, :LISTED] * sign
        np.testing.assert_allclose(each.logits, expected, rtol=1e-4, atol=1e-5)
        picked = np.take_along_axis(logits[each.projection], each.token_ids, axis=1)
        np.testing.assert_allclose(picked, expected, rtol=1e-4, atol=1e-5)
        assert each.token_ids.max() < vocabulary

    cosines = logits["raw"] / np.linalg.norm(value, axis=1, keepdims=True) / np.linalg.norm(head, axis=1)
    softmax = np.exp(logits["raw"]) / np.exp(logits["raw"]).sum(axis=1, keepdims=True)
    weakest = np.linalg.svd(head)[2][-1:]
    expected = {
        "norm_key": np.linalg.norm(part["key"], axis=1),
        "norm_value": np.linalg.norm(value, axis=1),
        "cos_key_value": _cosine(part["key"], value),
        "vocab_mean": cosines.mean(axis=1),
        "vocab_variance": cosines.var(axis=1),
        "vocab_skewness": stats.skew(cosines, axis=1),
        "vocab_kurtosis": stats.kurtosis(cosines, axis=1, fisher=False),
        "max_probability": softmax.max(axis=1),
        "unigram_correlation": [np.corrcoef(row, np.log(counts + 1))[0, 1] for row in logits["raw"]],
        "null_share": np.linalg.norm(value @ weakest.T, axis=1) / np.linalg.norm(value, axis=1),
    }
    folded = head * part["gain"]
    if kind == "gpt2":
        folded = folded - folded.mean(axis=1, keepdims=True)
    folded = folded - folded.mean(axis=0)
    turned = centred @ folded.T / np.linalg.norm(centred, axis=1, keepdims=True) / np.linalg.norm(folded, axis=1)
    # the direction that a LayerNorm takes off is read by nothing, and no value has any of it
    least = np.linalg.svd(folded)[2][-2 if kind == "gpt2" else -1]
    expected |= {
        "folded_variance": turned.var(axis=1),
        "folded_skewness": stats.skew(turned, axis=1),
        "folded_kurtosis": stats.kurtosis(turned, axis=1, fisher=False),
        "folded_null_share": np.abs(centred @ least) / np.linalg.norm(centred, axis=1),
    }
    if kind == "llama":
        expected |= {
            "norm_up": np.linalg.norm(part["up"], axis=1),
            "cos_up_value": _cosine(part["up"], value),
            "cos_gate_up": _cosine(part["key"], part["up"]),
        }
    else:
        expected["bias"] = part["bias"]
    assert set(statistics) == set(expected)
    assert set(expected) <= {column.name for column in WEIGHT_STATISTICS}
    for name, column in expected.items():
        np.testing.assert_allclose(statistics[name], column, rtol=2e-3, atol=2e-5, err_msg=name)


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_a_normed_projection_is_what_the_value_really_adds_to_the_logits(tmp_path: Path) -> None:
    """Logits are linear in a value once the final norm's scale is frozen: L(v) / sigma, token by token."""
    loaded = load_model(ModelSource(str(save_tiny(tmp_path, "gpt2")), device="cpu"))
    value = loaded.layers[1].values[5].double()
    residual = torch.randn(loaded.facts.width, dtype=torch.float64) * 3
    norm, head = loaded.final_norm.double(), loaded.model.get_output_embeddings().double()
    sigma = (residual.var(unbiased=False) + norm.eps).sqrt()
    moved = residual + 1e-6 * value
    moved = (moved - moved.mean()) / sigma * norm.weight + norm.bias
    before = (residual - residual.mean()) / sigma * norm.weight + norm.bias
    change = (head(moved) - head(before))[: loaded.facts.vocabulary] / 1e-6
    expected = loaded.project(value[None], normed=True)[0] / sigma
    torch.testing.assert_close(expected, change, rtol=1e-4, atol=1e-6)
