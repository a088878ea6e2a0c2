"""The keys behind a token, over HTTP without a network."""

from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keyscope.contract.wire import ActivationsAnswer
from tests.worker.live.driving import NANO, PROMPT, Worker, running_worker

pytestmark = pytest.mark.anyio


async def ask(worker: Worker, **options: Any) -> httpx.Response:
    return await worker.client.post("/activations", json={"text": PROMPT, **options})


async def test_coefficients_and_next_tokens_are_those_of_plain_transformers() -> None:
    async with running_worker() as worker:
        answer = ActivationsAnswer.model_validate((await ask(worker, limit=30)).json())
    plain = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(NANO)(PROMPT)["input_ids"]
    seen: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(plain.transformer.h):
        block.mlp.fc_out.register_forward_pre_hook(lambda _m, args, at=layer: seen.__setitem__(at, args[0][0, -1]))
    with torch.no_grad():
        logprobs = plain(torch.tensor([ids])).logits[0, -1].log_softmax(dim=0)
    assert [token.token_id for token in answer.tokens] == ids
    assert answer.token_index == len(ids) - 1
    assert answer.target.token_id == answer.next[0].token_id == int(logprobs.argmax())
    for each in answer.next:
        assert each.logprob == pytest.approx(float(logprobs[each.token_id]), abs=1e-4)
    assert len(answer.keys) == 30
    for key in answer.keys:
        layer, index = (int(part[1:]) for part in key.key.split("."))
        assert key.coefficient == pytest.approx(float(seen[layer][index]), rel=1e-4, abs=1e-4)
    given = [key.contribution for key in answer.keys]
    assert given == sorted(given, reverse=True)


async def test_masking_the_keys_that_gave_most_makes_the_next_token_less_probable() -> None:
    async with running_worker() as worker:
        answer = ActivationsAnswer.model_validate((await ask(worker, limit=40)).json())
        masks = [{"key": key.key} for key in answer.keys]
        generated = await worker.client.post("/generate", json={"prompt": PROMPT, "masks": masks, "max_new_tokens": 1})
    first = generated.json()["masked"]["tokens"][0]
    kept = {each["token_id"]: each["logprob"] for each in [first, *first["top"]]}
    assert kept.get(answer.target.token_id, -100.0) < answer.target.logprob - 1


async def test_another_place_target_and_distractor_may_be_asked_for() -> None:
    async with running_worker() as worker:
        plain = (await ask(worker, token_index=3, target=17, limit=1000)).json()
        against = (await ask(worker, token_index=3, target=17, distractor=18, limit=1000)).json()
        other = (await ask(worker, token_index=3, target=18, limit=1000, order="size")).json()
    assert plain["token_index"] == 3
    assert (against["target"]["token_id"], against["distractor"]["token_id"]) == (17, 18)
    to_17, to_18 = ({key["key"]: key["contribution"] for key in answer["keys"]} for answer in (plain, other))
    both = [key for key in against["keys"] if key["key"] in to_17 and key["key"] in to_18]
    assert len(both) > 20
    for key in both:
        assert key["contribution"] == pytest.approx(to_17[key["key"]] - to_18[key["key"]], abs=1e-4)
    sizes = [key["size"] for key in other["keys"]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"token_index": 999}, 422, "unknown_token"),
        ({"target": 5000}, 422, "unknown_token"),
        ({"text": "x = 1\n" * 2000}, 400, "prompt_too_long"),
        ({"weights_sha256": "0" * 64}, 409, "other_weights"),
    ],
)
async def test_what_cannot_be_looked_at_is_refused(options: dict[str, Any], status: int, code: str) -> None:
    async with running_worker() as worker:
        response = await ask(worker, **options)
    assert (response.status_code, response.json()["error"]) == (status, code)


def _name(key: str) -> tuple[int, int]:
    layer, index = (int(part[1:]) for part in key.split("."))
    return layer, index


async def test_over_a_span_every_key_stands_where_it_was_largest() -> None:
    async with running_worker() as worker:
        together = (await ask(worker, span={"first": 2, "last": 5}, order="size", limit=1000)).json()
        alone = [(await ask(worker, token_index=at, order="size", limit=1000)).json() for at in (2, 3, 4, 5)]
    assert together["span"] == {"first": 2, "last": 5}
    assert (together["token_index"], together["next"]) == (5, alone[-1]["next"])
    sizes = [{key["key"]: key for key in answer["keys"]} for answer in alone]
    compared = 0
    for key in together["keys"]:
        everywhere = [each.get(key["key"]) for each in sizes]
        if None not in everywhere:
            largest = max(everywhere, key=lambda each: each["size"])
            compared += 1
            assert key["token_index"] == largest["token_index"]
            assert key["coefficient"] == pytest.approx(largest["coefficient"], rel=1e-4, abs=1e-5)
    assert compared > 100
    assert len({key["token_index"] for key in together["keys"]}) == 4


async def test_contributions_over_a_span_are_those_at_its_last_token() -> None:
    async with running_worker() as worker:
        together = (await ask(worker, span={"first": 2, "last": 5}, target=17, order="size", limit=200)).json()
        alone = (await ask(worker, token_index=5, target=17, order="size", limit=1000)).json()
    given = {key["key"]: key["contribution"] for key in alone["keys"]}
    both = [key for key in together["keys"] if key["key"] in given]
    assert len(both) > len(together["keys"]) / 2
    for key in both:
        assert key["contribution"] == pytest.approx(given[key["key"]], rel=1e-3, abs=1e-4)


async def test_by_layer_every_layer_has_its_first_keys() -> None:
    async with running_worker() as worker:
        answer = (await ask(worker, by_layer=True, limit=3)).json()
        everything = (await ask(worker, limit=1000)).json()
    layers = [_name(key["key"])[0] for key in answer["keys"]]
    assert layers == [layer for layer in range(8) for _ in range(3)]
    for layer in range(8):
        expected = [key["key"] for key in everything["keys"] if _name(key["key"])[0] == layer][:3]
        found = [key["key"] for key in answer["keys"] if _name(key["key"])[0] == layer]
        assert found[: len(expected)] == expected


async def test_after_an_earlier_layer_only_keys_up_to_it_have_written() -> None:
    async with running_worker() as worker:
        answer = (await ask(worker, layer=2, limit=1000)).json()
        whole = (await ask(worker)).json()
        last = (await ask(worker, layer=7)).json()
    assert answer["layer"] == 2
    assert {_name(key["key"])[0] for key in answer["keys"]} == {0, 1, 2}
    assert answer["next"] != whole["next"]
    assert last["next"] == whole["next"]


async def test_the_syntax_nodes_of_the_text_are_spans_of_tokens() -> None:
    async with running_worker() as worker:
        answer = (await ask(worker, language="python")).json()
        without = (await ask(worker, language="cobol")).json()
    assert without["nodes"] == []
    tokens = [token["token"] for token in answer["tokens"]]
    spelled = {node["type"]: "".join(tokens[node["first"] : node["last"] + 1]) for node in answer["nodes"]}
    assert spelled["import_statement"].strip() == "import numpy as np"
    assert spelled["function_definition"].strip().startswith("def identity(n):")
    assert all(0 <= node["first"] <= node["last"] < len(tokens) for node in answer["nodes"])
    spans = [(node["first"], node["last"]) for node in answer["nodes"]]
    assert len(set(spans)) == len(spans)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"span": {"first": 3, "last": 1}}, "invalid_request"),
        ({"span": {"first": 0, "last": 999}}, "unknown_token"),
        ({"span": {"first": 0, "last": 1}, "token_index": 1}, "invalid_request"),
        ({"layer": 8}, "unknown_layer"),
    ],
)
async def test_places_that_are_not_there_are_refused(options: dict[str, Any], code: str) -> None:
    async with running_worker() as worker:
        response = await ask(worker, **options)
    assert (response.status_code, response.json()["error"]) == (422, code)
