"""Encoder–decoders: both stacks, checked against plain transformers."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from keyscope.contract.keys import KeyId, Stack
from keyscope.worker.model.check import check_model
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import ModelCheckFailed, TaskUnfit, UndefinedHere, UnknownKey
from keyscope.worker.model.framing import share
from keyscope.worker.model.keys import check_key
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from tests.worker.proofs import PROOFS, Subject
from tests.worker.t5 import DECODER_LAYERS, ENCODER_LAYERS, KEYS, KINDS, save_t5

LONG = torch.arange(40, 76)[None]
"""More tokens than there are exact buckets of the relative position bias."""


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5") / request.param, request.param)


@cache
def _load(folder: Path, dtype: str = "float32") -> CodeModel:
    return load_model(ModelSource(str(folder), dtype=dtype, device="cpu"))


@cache
def _plain(folder: Path) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def model(folder: Path) -> CodeModel:
    """The decoder of the model; `.of("E")` is its encoder."""
    return _load(folder)


def _blocks(plain: Any, stack: Stack) -> Any:
    return (plain.encoder if stack == "E" else plain.decoder).block


@torch.no_grad()
def _coefficients(model: CodeModel, token_ids: Tensor) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    with read_coefficients(model, lambda layer, c: found.__setitem__(layer, c.clone())):
        model.run_body(token_ids)
    return [found[layer] for layer in sorted(found)]


@torch.no_grad()
def _plain_coefficients(plain: Any, stack: Stack, **inputs: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    hooks = [
        block.layer[-1].DenseReluDense.wo.register_forward_pre_hook(lambda _module, args: found.append(args[0].clone()))
        for block in _blocks(plain, stack)
    ]
    plain(**inputs, use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


def test_the_keys_of_both_stacks_are_found(model: CodeModel) -> None:
    assert (model.facts.stack, model.facts.keys_per_layer) == ("D", [KEYS] * DECODER_LAYERS)
    encoder = model.of("E").facts
    assert (encoder.stack, encoder.keys_per_layer) == ("E", [KEYS] * ENCODER_LAYERS)
    assert encoder.keys_in("D") == model.facts.keys_per_layer
    check_key(model.facts, KeyId(ENCODER_LAYERS - 1, KEYS - 1, "E"))
    for wrong in (KeyId(ENCODER_LAYERS, 0, "E"), KeyId(0, 0), KeyId(0, KEYS, "D")):
        with pytest.raises(UnknownKey, match=str(wrong)):
            check_key(model.facts, wrong)


def test_coefficients_of_long_texts_are_those_of_plain_transformers(model: CodeModel, folder: Path) -> None:
    framing = model.facts.framing
    assert framing is not None
    blank = torch.tensor([[framing.sentinels[0], *framing.suffix]])
    start = torch.tensor([[framing.start]])
    expected = {
        "E": _plain_coefficients(_plain(folder), "E", input_ids=LONG, decoder_input_ids=start),
        "D": _plain_coefficients(_plain(folder), "D", input_ids=blank, decoder_input_ids=LONG),
    }
    for stack, wanted in expected.items():
        for found, plain in zip(_coefficients(model.of(stack), LONG), wanted, strict=True):  # type: ignore[arg-type]
            torch.testing.assert_close(found, plain)


def test_the_decoder_reads_no_later_tokens_and_the_encoder_does(model: CodeModel) -> None:
    changed = torch.cat([LONG[:, :-1], LONG[:, :1]], dim=1)
    for before, after in zip(_coefficients(model, LONG), _coefficients(model, changed), strict=True):
        assert torch.equal(before[:, :-1], after[:, :-1])
    encoder = model.of("E")
    last = zip(_coefficients(encoder, LONG), _coefficients(encoder, changed), strict=True)
    assert [torch.equal(before[:, 0], after[:, 0]) for before, after in last] == [False] * ENCODER_LAYERS


@pytest.mark.parametrize("stack", ["E", "D"])
def test_what_is_read_and_changed_equals_plain_transformers(model: CodeModel, folder: Path, stack: Stack) -> None:
    subject = Subject.of(folder, model.of(stack))
    errors = {name: proof(subject) for name, proof in PROOFS.items()}
    assert errors["generate"] == 0
    for name, error in errors.items():
        assert error is None or error < 3e-5, (name, error)
    assert {name for name, error in errors.items() if error is None} == (
        {"lens", "contributions"} if stack == "E" else set()
    )


def test_only_a_scaled_head_has_a_divisor(model: CodeModel, folder: Path) -> None:
    assert model.family.divisor == (4.0 if _plain(folder).config.scale_decoder_outputs else 1.0)


def test_a_head_without_its_scale_is_refused(model: CodeModel) -> None:
    if model.family.divisor == 1:
        pytest.skip("this head has no scale")
    with pytest.raises(ModelCheckFailed, match="lens differs"):
        check_model(replace(model, family=replace(model.family, divisor=1.0)))


@torch.no_grad()
def test_the_loss_of_what_the_decoder_is_given_is_that_of_the_labels(model: CodeModel, folder: Path) -> None:
    framing = model.facts.framing
    assert framing is not None
    ids = LONG[0].tolist()
    decoded = np.isin(np.arange(len(ids)), [4, 5, 6, 20, 21, 30])
    shared = share(framing, ids, decoded)
    source, labels = torch.tensor([shared.source]), torch.tensor([shared.target[1:]])
    plain = _plain(folder)(input_ids=source, labels=labels)
    assert plain.loss > 0.1
    own = plain.logits.log_softmax(dim=-1).gather(2, labels[..., None]).mean()
    torch.testing.assert_close(-own, plain.loss)
    coefficients = _plain_coefficients(_plain(folder), "D", input_ids=source, labels=labels)
    again = _plain_coefficients(
        _plain(folder), "D", input_ids=source, decoder_input_ids=torch.tensor([shared.target[:-1]])
    )
    assert all(torch.equal(one, other) for one, other in zip(coefficients, again, strict=True))


def test_values_stay_in_float32_when_the_rest_is_in_float16(folder: Path) -> None:
    model = _load(folder, "float16")
    assert (model.dtype, model.layers[0].values.dtype) == (torch.float16, torch.float32)


def test_spans_and_what_is_left_of_a_window_share_its_tokens(model: CodeModel) -> None:
    framing = model.facts.framing
    assert framing is not None
    one, two = framing.sentinels[:2]
    shared = share(framing, [50, 51, 52, 53, 54], np.array([False, True, True, False, True]))
    assert shared.source == [50, one, 53, two, 1]
    assert shared.target == [0, one, 51, 52, two, 54]
    assert shared.places.tolist() == [-1, 2, 3, -1, 5]


def test_questions_about_encoder_keys_that_have_no_answer_are_refused(model: CodeModel) -> None:
    for question in ("contributions", "agreement", "next token", "shortening"):
        with pytest.raises(UndefinedHere, match="encoder"):
            model.of("E").require(question)  # type: ignore[arg-type]
    model.require("contributions")


def test_tasks_and_beginnings_that_do_not_fit_are_refused(model: CodeModel, load_tiny: Any) -> None:
    with pytest.raises(TaskUnfit, match="--task encode is for encoder–decoders"):
        load_tiny("gpt2").reading("auto", "encode")
    with pytest.raises(TaskUnfit, match="--bos eos"):
        model.reading("eos", "encode")
    without = model.facts.framing.model_copy(update={"sentinels": []})  # type: ignore[union-attr]
    bare = replace(model, facts=model.facts.model_copy(update={"framing": without}))
    with pytest.raises(TaskUnfit, match="--task continue"):
        bare.reading("auto", "denoise")
    assert bare.reading("auto", "continue").facts.stack == "D"
