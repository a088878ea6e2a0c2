"""The logit lens over HTTP without a network, against plain transformers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keyscope.contract.wire import LensAnswer
from tests.worker.live.driving import NANO, PROMPT, running_worker
from tests.worker.models import save_tiny

pytestmark = pytest.mark.anyio


async def test_every_cell_is_what_plain_transformers_say_there() -> None:
    async with running_worker() as worker:
        response = await worker.client.post("/lens", json={"text": PROMPT, "top": 4})
    answer = LensAnswer.model_validate(response.json())
    plain = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(NANO)(PROMPT)["input_ids"]
    with torch.no_grad():
        output = plain(torch.tensor([ids]), output_hidden_states=True)
        # the last of the hidden states has been through the final norm already
        states = [plain.transformer.ln_f(state) for state in output.hidden_states[1:-1]] + [output.hidden_states[-1]]
        lenses = [plain.lm_head(state)[0].log_softmax(dim=-1) for state in states]
    assert [token.token_id for token in answer.tokens] == ids
    assert (answer.first, len(answer.cells)) == (0, 8)
    says = output.logits[0].argmax(dim=-1)
    for cells, logprobs in zip(answer.cells, lenses, strict=True):
        assert len(cells) == len(ids)
        for at, cell in enumerate(cells):
            best = logprobs[at].topk(4)
            assert [each.token_id for each in cell.top] == best.indices.tolist()
            assert [each.logprob for each in cell.top] == pytest.approx(best.values.tolist(), abs=1e-4)
            own = logprobs[at, says[at]]
            assert cell.logprob == pytest.approx(float(own), abs=1e-4)
            assert cell.rank == 1 + int((logprobs[at] > own).sum())
    assert all(cell.rank == 1 for cell in answer.cells[-1])


async def test_only_the_last_tokens_are_looked_at_and_a_bos_is_one_of_the_text(tmp_path: Path) -> None:
    async with running_worker(save_tiny(tmp_path, "llama", bos=True)) as worker:
        short = LensAnswer.model_validate(
            (await worker.client.post("/lens", json={"text": "for i in range(3):", "last": 3})).json()
        )
        long = LensAnswer.model_validate(
            (await worker.client.post("/lens", json={"text": "for i in range(3):"})).json()
        )
    assert long.tokens[0].token == "<|endoftext|>"
    assert (short.first, long.first) == (len(short.tokens) - 3, 0)
    for few, many in zip(short.cells, long.cells, strict=True):
        assert [cell.top[0].token_id for cell in few] == [cell.top[0].token_id for cell in many[-3:]]


async def test_the_last_layer_says_what_is_generated() -> None:
    async with running_worker() as worker:
        answer = LensAnswer.model_validate((await worker.client.post("/lens", json={"text": PROMPT})).json())
        generated = (await worker.generate(max_new_tokens=1)).json()["baseline"]["tokens"][0]
    best = answer.cells[-1][-1].top[0]
    assert (best.token_id, best.token) == (generated["token_id"], generated["token"])
    assert best.logprob == pytest.approx(generated["logprob"], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"text": ""}, 422, "invalid_request"),
        ({"text": "x = 1\n" * 2000}, 400, "prompt_too_long"),
        ({"text": "x", "weights_sha256": "0" * 64}, 409, "other_weights"),
        ({"text": "x", "top": 0}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_looked_at_is_refused(options: dict[str, object], status: int, code: str) -> None:
    async with running_worker() as worker:
        response = await worker.client.post("/lens", json=options)
    assert (response.status_code, response.json()["error"]) == (status, code)
