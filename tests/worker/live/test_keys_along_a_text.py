"""Chosen keys along a text, and their neighbours by the weights, against plain arithmetic."""

from pathlib import Path

import pytest
import torch

from keyscope.contract.keys import KeyId
from keyscope.contract.wire import CoefficientsAnswer, NeighboursAnswer
from keyscope.worker.live.neighbours import NeighboursFinder, NeighboursTask
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from tests.worker.live.driving import PROMPT, running_worker
from tests.worker.models import save_tiny

pytestmark = pytest.mark.anyio


async def test_the_coefficients_of_chosen_keys_are_those_of_a_forward_pass(nano: CodeModel) -> None:
    names = ["L3.K17", "L0.K0", "L3.K2", "L3.K17"]
    async with running_worker() as worker:
        response = await worker.client.post("/coefficients", json={"text": PROMPT, "keys": names})
    answer = CoefficientsAnswer.model_validate(response.json())
    seen = {}
    ids = [token.token_id for token in answer.tokens]
    with torch.inference_mode(), read_coefficients(nano, lambda layer, found: seen.update({layer: found[0].clone()})):
        nano.run_body(torch.tensor([ids]))
    assert [each.key for each in answer.keys] == ["L3.K17", "L0.K0", "L3.K2"]
    for each in answer.keys:
        key = KeyId.parse(each.key)
        assert each.coefficients == pytest.approx(seen[key.layer][:, key.index].tolist(), abs=1e-5)


@pytest.mark.parametrize("family", ["codegen", "llama"])
async def test_the_neighbours_of_a_key_are_those_of_plain_arithmetic(tmp_path: Path, family: str) -> None:
    model = load_model(ModelSource(str(save_tiny(tmp_path, family))))
    key = KeyId(1, 3)
    found = NeighboursFinder(model).run(NeighboursTask(key, limit=1000), lambda _: None)
    own = model.layers[1]
    value = own.values[3].double()
    cosines = {
        KeyId(layer.layer, index): float(torch.cosine_similarity(each.double(), value, dim=0))
        for layer in model.layers
        for index, each in enumerate(layer.values)
    }
    del cosines[key]
    _check(found.similar, cosines)

    def centred(vector: torch.Tensor) -> torch.Tensor:
        return vector - vector.mean() if isinstance(own.norm, torch.nn.LayerNorm) else vector

    read = own.keys[3].double() * own.norm.weight.double()
    earlier, later = model.layers[:1], model.layers[2:]
    _check(
        found.upstream,
        {KeyId(0, index): float(centred(each.double()) @ read) for index, each in enumerate(earlier[0].values)},
    )
    _check(
        found.downstream,
        {
            KeyId(layer.layer, index): float(centred(value) * layer.norm.weight.double() @ each.double())
            for layer in later
            for index, each in enumerate(layer.keys)
        },
    )
    sizes = [abs(each.amount) for each in found.upstream]
    assert sizes == sorted(sizes, reverse=True)


async def test_only_as_many_neighbours_are_listed_as_asked_for() -> None:
    async with running_worker() as worker:
        response = await worker.client.post("/keys/neighbours", json={"key": "L0.K5", "limit": 3})
    answer = NeighboursAnswer.model_validate(response.json())
    assert (len(answer.similar), len(answer.upstream), len(answer.downstream)) == (3, 0, 3)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/coefficients", {"text": "x", "keys": []}, 422, "invalid_request"),
        ("/coefficients", {"text": "", "keys": ["L0.K0"]}, 422, "invalid_request"),
        ("/coefficients", {"text": "x", "keys": ["L0.K9999"]}, 422, "unknown_key"),
        ("/coefficients", {"text": "x = 1\n" * 2000, "keys": ["L0.K0"]}, 400, "prompt_too_long"),
        ("/coefficients", {"text": "x", "keys": ["L0.K0"], "weights_sha256": "0" * 64}, 409, "other_weights"),
        ("/keys/neighbours", {"key": "L99.K0"}, 422, "unknown_key"),
        ("/keys/neighbours", {"key": "L0.K0", "weights_sha256": "0" * 64}, 409, "other_weights"),
    ],
)
async def test_what_cannot_be_answered_is_refused(path: str, body: dict[str, object], status: int, code: str) -> None:
    async with running_worker() as worker:
        response = await worker.client.post(path, json=body)
    assert (response.status_code, response.json()["error"]) == (status, code)


def _check(found: list, expected: dict[KeyId, float]) -> None:
    assert {KeyId.parse(each.key): each.amount for each in found} == pytest.approx(expected, abs=1e-5)
