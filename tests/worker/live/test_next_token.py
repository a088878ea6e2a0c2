"""The next token under several sets of masks, over HTTP without a network, compared with what is generated."""

import pytest

from keyscope.contract.wire import GenerateAnswer, NextAnswer
from tests.worker.live.driving import PROMPT, Worker, running_worker

pytestmark = pytest.mark.anyio
ONE = [{"key": f"L7.K{index}"} for index in range(0, 640, 8)]
OTHER = [{"key": f"L{layer}.K{index}", "factor": 0.5} for layer in range(8) for index in range(0, 640, 8)]


async def ask(worker: Worker, **body: object) -> NextAnswer:
    response = await worker.client.post("/next", json={"text": PROMPT, "masks": [[]]} | body)
    return NextAnswer.model_validate(response.json())


async def test_each_set_of_masks_has_the_next_token_that_a_generation_begins_with() -> None:
    sets = [[], ONE, OTHER, *([[each] for each in ONE[:8]])]  # more than are read at once
    async with running_worker() as worker:
        answer = await ask(worker, masks=sets, top=3)
        for number in (1, 2):
            body = {"masks": sets[number], "max_new_tokens": 1, "top_logprobs": 3}
            generated = GenerateAnswer.model_validate((await worker.generate(**body)).json())
            for branch, result in ((0, generated.baseline), (number, generated.masked)):
                expected, found = result.tokens[0].top, answer.branches[branch].top
                assert [each.token_id for each in found] == [each.token_id for each in expected]
                assert [each.logprob for each in found] == pytest.approx([each.logprob for each in expected], abs=1e-4)
    assert len(answer.branches) == len(sets)


async def test_requested_tokens_are_given_in_their_order_however_improbable() -> None:
    async with running_worker() as worker:
        listed = await ask(worker, masks=[[], ONE], top=50)
        best, worst = listed.branches[0].top[0], listed.branches[0].top[-1]
        answer = await ask(worker, masks=[[], ONE], tokens=[worst.token_id, best.token_id], top=0)
    assert [each.token for each in answer.branches[0].tokens] == [worst.token, best.token]
    assert [each.logprob for each in answer.branches[0].tokens] == pytest.approx(
        [worst.logprob, best.logprob], abs=1e-4
    )
    assert answer.branches[1].tokens[1].logprob != pytest.approx(best.logprob, abs=1e-3)
    assert answer.branches[0].top == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"masks": []}, 422, "invalid_request"),
        ({"masks": [[{"key": "L0.K640"}]]}, 422, "unknown_key"),
        ({"masks": [[{"key": "L0.K1"}, {"key": "L0.K1", "factor": 2}]]}, 422, "invalid_mask"),
        ({"tokens": [4096]}, 422, "unknown_token"),
        ({"tokens": [-1]}, 422, "unknown_token"),
        ({"weights_sha256": "0" * 64}, 409, "other_weights"),
        ({"text": "x" * 9000}, 400, "prompt_too_long"),
    ],
)
async def test_what_does_not_fit_the_model_is_refused(body: dict[str, object], status: int, code: str) -> None:
    async with running_worker() as worker:
        response = await worker.client.post("/next", json={"text": PROMPT, "masks": [[]]} | body)
    assert (response.status_code, response.json()["error"]) == (status, code)
