from typing import Any

import pytest

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import InvalidMask, KeyId, Mask, Scale
from keyscope.contract.wire import WorkerGenerate
from keyscope.worker.live.admission import Admission
from keyscope.worker.live.errors import EmptyPrompt, OtherWeights, PromptTooLong, TooManyMasks, TooManyNewTokens
from keyscope.worker.live.generation import Task
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.live.token_text import TokenText
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import UnknownKey
from tests.worker.models import CONTEXT, KEYS, LAYERS


def admit(model: CodeModel, settings: dict[str, Any] | None = None, **request: Any) -> Task:
    text = TokenText(model.tokenizer, model.facts.bos)
    admission = Admission(model, text, WorkerSettings(model="tiny", **settings or {}))
    return admission.admit(WorkerGenerate(**{"prompt": "def ", "max_new_tokens": 4} | request))


def test_a_request_becomes_a_task(tiny: CodeModel) -> None:
    task = admit(
        tiny,
        masks=[{"key": "l1.k2"}, {"key": "L0.K3", "factor": 0.5}, {"key": "L1.K2", "factor": 0}],
        temperature=0.5,
        seed=9,
        top_logprobs=2,
        weights_sha256=tiny.facts.weights_sha256,
    )
    ids = tiny.tokenizer("def ")["input_ids"]
    assert task == Task(ids, (Mask(KeyId(1, 2)), Mask(KeyId(0, 3), Scale(0.5))), 4, 0.5, 9, 2)


def test_limits_never_exceed_the_models_context(tiny: CodeModel) -> None:
    text = TokenText(tiny.tokenizer, [])
    limits = Admission(tiny, text, WorkerSettings(model="tiny", prompt_tokens=10**6, new_tokens=10**6)).limits
    assert (limits.prompt_tokens, limits.new_tokens) == (CONTEXT - 1, CONTEXT - 1)
    limits = Admission(tiny, text, WorkerSettings(model="tiny", prompt_tokens=9, new_tokens=8)).limits
    assert (limits.prompt_tokens, limits.new_tokens, limits.masks) == (9, 8, 4096)


REFUSED: list[tuple[type[KeyscopeError], int, dict[str, Any], dict[str, Any], list[str]]] = [
    (OtherWeights, 409, {}, {"weights_sha256": "0" * 64}, ["000000000000"]),
    (InvalidMask, 422, {}, {"masks": [{"key": "L1.K2"}, {"key": "L1.K2", "factor": 2}]}, ["L1.K2", "0", "2"]),
    (UnknownKey, 422, {}, {"masks": [{"key": f"L{LAYERS}.K0"}]}, ["L3.K0", "layers 0 to 2"]),
    (UnknownKey, 422, {}, {"masks": [{"key": f"L1.K{KEYS}"}]}, ["L1.K48", "keys 0 to 47"]),
    (TooManyNewTokens, 400, {"new_tokens": 5}, {"max_new_tokens": 6}, ["6", "5"]),
    (TooManyNewTokens, 400, {}, {"max_new_tokens": CONTEXT}, [str(CONTEXT), str(CONTEXT - 1)]),
    (PromptTooLong, 400, {"prompt_tokens": 5}, {"prompt": "xyz" * 4}, ["12 tokens", "5"]),
    (PromptTooLong, 400, {}, {"prompt": "xyz" * 40, "max_new_tokens": 20}, ["120 tokens", "108", "20"]),
]


@pytest.mark.parametrize(("error", "status", "settings", "request_", "named"), REFUSED)
def test_what_is_too_much_or_wrong_is_refused_with_both_numbers(
    tiny: CodeModel,
    error: type[KeyscopeError],
    status: int,
    settings: dict[str, Any],
    request_: dict[str, Any],
    named: list[str],
) -> None:
    with pytest.raises(error) as refusal:
        admit(tiny, settings, **request_)
    assert refusal.value.status == status
    for part in named:
        assert part in refusal.value.detail


def test_masks_are_counted_each_key_once(nano: CodeModel) -> None:
    names = [f"L{layer}.K{index}" for layer in range(8) for index in range(640)]
    allowed = [{"key": name} for name in names[:4096]]
    assert len(admit(nano, masks=allowed + allowed).masks) == 4096
    with pytest.raises(TooManyMasks, match="4097 keys are masked, this worker accepts at most 4096") as refusal:
        admit(nano, masks=[*allowed, {"key": names[4096]}])
    assert refusal.value.status == 413


def test_a_prompt_just_within_the_limit_is_taken(tiny: CodeModel) -> None:
    prompt = "xyz" * 36
    assert len(admit(tiny, prompt=prompt, max_new_tokens=20).prompt_ids) == CONTEXT - 20


def test_a_prompt_without_tokens_is_refused(tiny: CodeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenText, "encode", lambda self, prompt: [])
    with pytest.raises(EmptyPrompt, match="'def '"):
        admit(tiny)
