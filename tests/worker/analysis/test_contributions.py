"""Contributions of keys compared with the logits of plain transformers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from keyscope.worker.analysis.contributions import direction, layer_contributions, read_position, strongest
from keyscope.worker.analysis.lens import lens, read_residual
from keyscope.worker.model.errors import UndefinedHere
from tests.worker.conftest import FolderOf, LoadTiny

TEXT = "def add(left, right):\n    return left"
KINDS = ["codegen", "gpt2", "llama", "gpt_neox-sequential"]
ATTENTION = {"codegen": "attn", "gpt2": "attn", "llama": "self_attn", "gpt_neox": "attention"}
EMBEDDINGS = {"codegen": ["wte"], "gpt2": ["wte", "wpe"], "llama": ["embed_tokens"], "gpt_neox": ["embed_in"]}


def _everything_but_keys(folder: Path, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings, attention and biases of the down projections at the last position; and the logits there."""
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    kind = plain.config.model_type
    parts = []
    for name, module in plain.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last == ATTENTION[kind]:
            module.register_forward_hook(lambda _m, _i, out: parts.append(out[0][0, -1]))
        if last in EMBEDDINGS[kind]:
            module.register_forward_hook(lambda _m, _i, out: parts.append(out.reshape(-1, out.shape[-1])[-1]))
        if last in ("fc_out", "c_proj", "down_proj", "dense_4h_to_h") and "mlp" in name and module.bias is not None:
            parts.append(module.bias.detach())
    with torch.no_grad():
        logits = plain(ids).logits[0, -1]
    return torch.stack(parts).sum(dim=0), logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [5, 271])
def test_all_contributions_sum_to_the_logit(
    load_tiny: LoadTiny, tiny_folder_of: FolderOf, kind: str, token: int
) -> None:
    model = load_tiny(kind)
    ids = model.tokenizer(TEXT)["input_ids"]
    position = read_position(model, ids, len(ids) - 1)
    towards = direction(model, token)
    rest, logits = _everything_but_keys(tiny_folder_of(kind), torch.tensor([ids]))
    keys = sum(float(given.sum()) for given in layer_contributions(model, position, towards))
    constant = 0.0
    if getattr(model.final_norm, "bias", None) is not None:
        constant += float(model.unembedding[token] @ model.final_norm.bias)
    if (bias := model.model.get_output_embeddings().bias) is not None:
        constant += float(bias[token])
    total = keys + float(rest @ towards) / position.scale + constant
    assert total == pytest.approx(float(logits[token]), rel=1e-4, abs=1e-4)
    assert abs(keys) > 1e-2
    torch.testing.assert_close(position.logprobs, logits.log_softmax(dim=0), rtol=1e-4, atol=1e-4)


def test_the_strongest_keys_have_the_largest_contributions(load_tiny: LoadTiny) -> None:
    model = load_tiny("llama")
    ids = model.tokenizer(TEXT)["input_ids"]
    position = read_position(model, ids, 3)
    everything = torch.cat(layer_contributions(model, position, direction(model, 9) - direction(model, 4)))
    found = strongest(model, position, target=9, distractor=4, limit=10)
    assert [each.contribution for each in found] == pytest.approx(everything.sort(descending=True).values[:10].tolist())
    for each in found:
        assert each.coefficient == float(position.coefficients[each.key.layer][each.key.index])
    by_size = strongest(model, position, 9, 4, 10, by_size=True)
    assert [each.size for each in by_size] == sorted((each.size for each in by_size), reverse=True)


def test_a_later_text_does_not_change_an_earlier_position(load_tiny: LoadTiny) -> None:
    model = load_tiny("codegen")
    ids = model.tokenizer(TEXT)["input_ids"]
    whole, cut = read_position(model, ids, 4), read_position(model, ids[:5], 4)
    assert all(torch.equal(a, b) for a, b in zip(whole.coefficients, cut.coefficients, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_after_an_earlier_layer_contributions_and_the_rest_sum_to_the_lens(load_tiny: LoadTiny, kind: str) -> None:
    model = load_tiny(kind)
    ids = model.tokenizer(TEXT)["input_ids"]
    after: list[torch.Tensor] = []
    with torch.no_grad(), read_residual(model, 1, lambda residual: after.append(residual[0, -1].clone())):
        model.run_body(torch.tensor([ids]))
    with torch.no_grad():
        expected = lens(model, after[0])
    position = read_position(model, ids, len(ids) - 1, layer=1)
    assert len(position.coefficients) == 2
    torch.testing.assert_close(position.logprobs[: len(expected)].softmax(0), expected.softmax(0), rtol=1e-4, atol=1e-5)
    towards = direction(model, 9)
    keys = sum(
        coefficients @ layer.values.float()
        for layer, coefficients in zip(model.layers, position.coefficients, strict=False)
    )
    given = sum(float(each.sum()) for each in layer_contributions(model, position, towards))
    assert given == pytest.approx(float(keys @ towards) / position.scale, rel=1e-4, abs=1e-4)
    # without the keys' contributions, only embeddings, attention and biases are left in the residual
    constant = sum(
        float(model.unembedding[9] @ bias) if source is model.final_norm else float(bias[9])
        for source in (model.final_norm, model.model.get_output_embeddings())
        if (bias := getattr(source, "bias", None)) is not None
    )
    rest = float((after[0] - keys) @ towards) / position.scale
    assert given + rest + constant == pytest.approx(float(expected[9]), rel=1e-4, abs=1e-4)


def test_of_several_tokens_only_the_last_one_adds_to_the_logit(load_tiny: LoadTiny) -> None:
    model = load_tiny("codegen")
    ids = [5, 17, 40, 8, 99, 23]
    alone, together = read_position(model, ids, 5), read_position(model, ids, 5, first=1)
    towards = direction(model, 7)
    for one, other in zip(
        layer_contributions(model, alone, towards), layer_contributions(model, together, towards), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-6)
    assert any(bool((places < 4).any()) for places in together.places)  # some keys are shown at an earlier token
    for one, other in zip(alone.coefficients, together.coefficients, strict=True):
        assert bool((other.abs() >= one.abs()).all())


@pytest.mark.parametrize("kind", ["gemma2", "olmo2", "opt-post"])
def test_where_contributions_are_undefined_keys_are_ranked_by_size_and_the_reason_is_given(
    load_tiny: LoadTiny, kind: str
) -> None:
    model = load_tiny(kind)
    position = read_position(model, model.tokenizer(TEXT)["input_ids"], 3)
    with pytest.raises(UndefinedHere, match=rf"not defined in {kind}: (a norm stands|its blocks normalise)"):
        strongest(model, position, target=9, distractor=None, limit=5)
    found = strongest(model, position, target=9, distractor=None, limit=5, by_size=True)
    assert [each.contribution for each in found] == [None] * 5
    assert found[0].size > found[-1].size > 0
