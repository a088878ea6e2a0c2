"""The logit lens and the feed-forward outputs compared with plain transformers."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from keyscope.worker.analysis.lens import LayerPass, lens, normed_lens, read_layers, top_tokens
from keyscope.worker.model.code_model import CodeModel
from tests.worker.conftest import WAYS, FolderOf, LoadTiny

TEXT = "def add(left, right):\n    return left + right"


def read(model: CodeModel, ids: torch.Tensor) -> tuple[list[LayerPass], torch.Tensor]:
    found: list[LayerPass] = []

    def keep(layer: LayerPass) -> None:
        found.append(LayerPass(layer.layer, layer.coefficients.clone(), layer.written.clone(), layer.after.clone()))

    with torch.no_grad(), read_layers(model, keep):
        normed = model.run_body(ids)
    return found, normed


@pytest.mark.parametrize("kind", WAYS)
def test_after_the_last_layer_the_lens_equals_the_logits_to_the_bit(load_tiny: LoadTiny, kind: str) -> None:
    model = load_tiny(kind)
    ids = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    found, normed = read(model, ids)
    with torch.no_grad():
        logits = model.logits(ids)[..., : model.facts.vocabulary]
        assert torch.equal(lens(model, found[-1].after), logits)
        assert torch.equal(normed_lens(model, normed), logits)
        assert not torch.equal(lens(model, found[0].after), logits)


@pytest.mark.parametrize("kind", ["codegen", "gpt2", "gpt_neox", "llama", "starcoder2"])
def test_a_layer_writes_what_its_feed_forward_module_returns(
    load_tiny: LoadTiny, tiny_folder_of: FolderOf, kind: str
) -> None:
    model = load_tiny(kind)
    ids = torch.tensor([model.tokenizer(TEXT)["input_ids"]])
    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_folder_of(kind), dtype=torch.float32).eval()
    written: list[torch.Tensor] = []
    for name, module in plain.named_modules():
        if name.endswith(".mlp"):
            module.register_forward_hook(lambda _m, _i, out: written.append(out))
    with torch.no_grad():
        states = plain(ids, output_hidden_states=True).hidden_states
    found, _ = read(model, ids)
    assert [layer.layer for layer in found] == list(range(len(written)))
    for layer, output in zip(found, written, strict=True):
        torch.testing.assert_close(layer.written, output)
    # all entries but the last are residuals between blocks; the last has been through the final norm
    for layer, state in zip(found[:-1], states[1:-1], strict=True):
        torch.testing.assert_close(layer.after, state)


def test_hooks_are_gone_after_an_error(load_tiny: LoadTiny) -> None:
    model = load_tiny("codegen")
    with pytest.raises(ZeroDivisionError), read_layers(model, lambda _layer: None):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in model.model.modules())


def test_ties_of_logits_go_to_the_lowest_token(load_tiny: LoadTiny) -> None:
    model = load_tiny("codegen")
    ties = torch.tensor([[0.0, 2.0, 1.0, 2.0], [3.0, 3.0, 3.0, 3.0]])
    assert top_tokens(model, ties, lambda vectors: vectors).tolist() == [1, 0]


def test_rows_of_the_head_without_a_token_never_win(load_tiny: LoadTiny) -> None:
    model = deepcopy(load_tiny("codegen"))
    with torch.no_grad():
        model.model.get_output_embeddings().bias[model.facts.vocabulary :] = 1000.0
        top = lens(model, torch.randn(8, model.facts.width)).argmax(dim=-1)
    assert model.head_rows > model.facts.vocabulary
    assert int(top.max()) < model.facts.vocabulary


def test_what_a_layer_wrote_is_what_its_output_loses_without_its_down_projection(own_tiny: CodeModel) -> None:
    """Also where the block adds to the very tensor, multiplies it, or passes it through a norm first."""
    if own_tiny.family.renormed:
        return
    ids = torch.tensor([own_tiny.tokenizer(TEXT)["input_ids"]] * 2)
    whole = read(own_tiny, ids)[0][-1]
    assert whole.coefficients.shape == (*ids.shape, own_tiny.layers[-1].n_keys)
    with torch.no_grad():
        for parameter in own_tiny.layers[-1].down.parameters():
            parameter.zero_()
    without = read(own_tiny, ids)[0][-1]
    assert torch.allclose(whole.written, whole.after - without.after, atol=1e-4)
