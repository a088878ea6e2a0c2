"""The application over HTTP without a network: what it answers, and what it refuses."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from keyscope.contract.wire import GenerateAnswer, TokenEvent, WorkerInfo
from keyscope.serving.hosts import OpenToOthers
from keyscope.worker.live.guard import check_exposure
from keyscope.worker.live.server import create_worker_app
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.model.errors import ModelNotFound
from tests.worker.live.driving import NANO, PROMPT, Worker, events, running_worker, vanish

pytestmark = pytest.mark.anyio
STREAM = "text/event-stream"
BASKET = [{"key": f"L{layer}.K{index}"} for layer in range(8) for index in range(0, 640, 8)]


def assert_refused(response: httpx.Response, status: int, code: str, *named: str) -> None:
    body = response.json()
    assert (response.status_code, body["ok"], body["error"]) == (status, False, code)
    assert set(body) == {"ok", "error", "detail"}
    for part in named:
        assert part in body["detail"]
    assert ("retry-after" in response.headers) == (status in (429, 503))


async def block(worker: Worker) -> threading.Event:
    """Keep the engine busy until the event that is returned is set."""
    opened = threading.Event()
    worker.service.engine.submit(lambda emit: opened.wait(20), size=100)
    await worker.until("running == 1")
    return opened


async def test_info_says_which_model_it_is_and_what_it_accepts() -> None:
    async with running_worker(masks=5000, queue=3) as worker:
        info = WorkerInfo.model_validate((await worker.client.get("/info")).json())
        assert (info.model_id, info.n_layers, info.keys_per_layer) == ("codegen-nano", 8, [640] * 8)
        assert (info.dtype, info.device, info.waiting, info.running) == ("float32", "cpu", 0, False)
        assert info.limits.model_dump() == {
            "prompt_tokens": 1023,
            "new_tokens": 512,
            "masks": 5000,
            "queue": 3,
            "body_bytes": 1048576,
        }
        assert info.tokens_per_second is None
        await worker.generate()
        assert (await worker.client.get("/info")).json()["tokens_per_second"] > 0


async def test_the_answer_and_the_stream_say_the_same() -> None:
    async with running_worker() as worker:
        body = {"masks": BASKET, "temperature": 0.7, "seed": 3, "top_logprobs": 2}
        answer = GenerateAnswer.model_validate((await worker.generate(**body)).json())
        response = await worker.client.post(
            "/generate", json={"prompt": PROMPT, "max_new_tokens": 8} | body, headers={"Accept": STREAM}
        )
        prompt_tokens = len(worker.service.generator.text.encode(PROMPT))
    assert response.headers["content-type"].startswith(STREAM)
    assert response.headers["x-accel-buffering"] == "no"
    stream = events(response.text)
    assert [name for name, _ in stream] == ["token"] * 16 + ["done"]
    for branch, whole in (("baseline", answer.baseline), ("masked", answer.masked)):
        streamed = [TokenEvent.model_validate(data) for _, data in stream[:-1] if data["branch"] == branch]
        assert [event.model_dump(exclude={"branch", "index"}) for event in streamed] == [
            token.model_dump() for token in whole.tokens
        ]
        assert all(len(event.top) == 2 for event in streamed)
        assert stream[-1][1]["text"][branch] == whole.text == "".join(token.token for token in whole.tokens)
    assert stream[-1][1]["first_divergence"] == answer.first_divergence is not None
    assert stream[-1][1]["applied"] == answer.applied.model_dump() == {"keys": 640, "positions": prompt_tokens + 7}


async def test_two_users_at_once_get_what_each_gets_alone() -> None:
    bodies: list[dict[str, Any]] = [
        {"masks": BASKET[:100], "temperature": 0.8, "seed": 1},
        {"masks": BASKET[100:400], "temperature": 0.8, "seed": 1},
        {"masks": []},
        {"masks": BASKET[:1], "prompt": "func main() {\n"},
    ] * 3
    async with running_worker() as worker:
        alone = [(await worker.generate(**body)).json() for body in bodies]
        together = [response.json() for response in await asyncio.gather(*(worker.generate(**body) for body in bodies))]
    for answer in alone + together:
        del answer["elapsed_ms"]
    assert alone == together
    assert alone[0]["masked"] != alone[1]["masked"]


async def test_each_limit_is_answered_with_its_status_and_both_numbers() -> None:
    async with running_worker(prompt_tokens=50, new_tokens=30, body_bytes=400_000) as worker:
        response = await worker.generate(prompt="x = 1\n" * 30)
        assert_refused(response, 400, "prompt_too_long", "50", "tokens")
        assert_refused(await worker.generate(max_new_tokens=31), 400, "too_many_new_tokens", "31", "30")
        names = [{"key": f"L{layer}.K{index}"} for layer in range(8) for index in range(640)]
        assert_refused(await worker.generate(masks=names[:4097]), 413, "too_many_masks", "4097", "4096")
        assert (await worker.generate(masks=names[:4096], max_new_tokens=1)).status_code == 200
        size = len(json.dumps({"prompt": "x" * 400_000}, separators=(",", ":")))
        response = await worker.client.post("/generate", json={"prompt": "x" * 400_000})
        assert_refused(response, 413, "body_too_large", f"{size:,}", "400,000")


async def test_a_full_queue_answers_429_and_a_long_wait_503() -> None:
    async with running_worker(queue=2, queue_timeout=0.3) as worker:
        opened = await block(worker)
        waiting = [asyncio.ensure_future(worker.generate()) for _ in range(2)]
        await worker.until("waiting == 2")
        assert_refused(await worker.generate(), 429, "queue_full", "2 requests are waiting", "the queue holds 2")
        for response in await asyncio.gather(*waiting):
            assert_refused(response, 503, "queue_timeout", "0.3 s")
        assert worker.service.engine.waiting == 0
        opened.set()
        assert (await worker.generate()).status_code == 200


async def test_keys_that_do_not_exist_or_contradict_are_refused() -> None:
    async with running_worker() as worker:
        assert_refused(await worker.generate(masks=[{"key": "L8.K0"}]), 422, "unknown_key", "L8.K0", "layers 0 to 7")
        assert_refused(await worker.generate(masks=[{"key": "L7.K640"}]), 422, "unknown_key", "keys 0 to 639")
        twice = [{"key": "L1.K1", "factor": 0.5}, {"key": "L1.K1", "factor": 0.25}]
        assert_refused(await worker.generate(masks=twice), 422, "invalid_mask", "0.5", "0.25")
        same = (await worker.generate(masks=[{"key": "L1.K1"}, {"key": "l1.k1", "factor": 0}])).json()
        assert same["applied"]["keys"] == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"prompt": ""}, ["prompt"]),
        ({"max_new_tokens": 0}, ["max_new_tokens", "0"]),
        ({"temperature": -1}, ["temperature", "-1"]),
        ({"temperature": float("nan")}, ["temperature"]),
        ({"top_logprobs": 51}, ["top_logprobs", "51"]),
        ({"seed": -1}, ["seed"]),
        ({"masks": [{"key": "5.312"}]}, ["masks.0.key", "5.312"]),
        ({"masks": [{"key": "L1.K1", "factor": float("inf")}]}, ["masks.0.factor"]),
        ({"url": "http://example.com/model"}, ["url"]),
        ({"model": "/etc/passwd"}, ["model"]),
        ({"prompt": "\ud800"}, ["prompt"]),
    ],
)
async def test_wrong_fields_are_named(tiny_folder: Path, body: dict[str, Any], named: list[str]) -> None:
    async with running_worker(tiny_folder) as worker:
        response = await worker.client.post(
            "/generate",
            content=json.dumps({"prompt": PROMPT} | body),
            headers={"content-type": "application/json"},
        )
    assert_refused(response, 422, "invalid_request", *named)


async def test_a_body_that_is_no_json_is_refused(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        headers = {"content-type": "application/json"}
        assert_refused(await worker.client.post("/generate", content="{", headers=headers), 422, "invalid_request")
        text = await worker.client.post("/generate", content='{"prompt": "a"}', headers={"content-type": "text/plain"})
        assert_refused(text, 422, "invalid_request")


async def test_many_wrong_masks_are_told_in_a_short_sentence(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        response = await worker.generate(masks=[{"key": "x"}] * 500)
    assert_refused(response, 422, "invalid_request", "and 497 more wrong values")
    assert len(response.json()["detail"]) < 400


async def test_another_models_keys_are_refused_and_its_own_accepted() -> None:
    async with running_worker() as worker:
        own = (await worker.client.get("/info")).json()["weights_sha256"]
        assert (await worker.generate(weights_sha256=own)).status_code == 200
        assert_refused(await worker.generate(weights_sha256="f" * 64), 409, "other_weights", own[:12], "ffffffffffff")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "localhost.evil.example", ""])
async def test_without_a_token_no_site_gets_in_by_pointing_its_name_here(host: str) -> None:
    async with running_worker() as worker:
        response = await worker.client.get("/info", headers={"Host": host})
        assert_refused(response, 421, "untrusted_host", "KEYSCOPE_WORKER_TOKEN")
        assert (await worker.client.get("/info", headers={"Host": "127.0.0.1:8001"})).is_success
    async with running_worker(token="secret") as worker:
        headers = {"Host": host, "Authorization": "Bearer secret"}
        assert (await worker.client.get("/info", headers=headers)).is_success


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "keyscope.example", ""])
async def test_without_a_token_the_worker_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(OpenToOthers, match="KEYSCOPE_WORKER_TOKEN"):
        check_exposure(WorkerSettings(model="any", host=host))
    check_exposure(WorkerSettings(model="any", host=host, token="secret"))
    check_exposure(WorkerSettings(model="any", host="127.0.0.1"))


async def test_only_healthz_is_open_without_the_token() -> None:
    async with running_worker(token="pässword") as worker:
        assert (await worker.client.get("/healthz")).json() == {"ok": True}
        for path in ("/info", "/metrics", "/openapi.json", "/nowhere"):
            assert_refused(await worker.client.get(path), 401, "unauthorised", "KEYSCOPE_WORKER_TOKEN")
        response = await worker.generate()
        assert_refused(response, 401, "unauthorised")
        assert response.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer", "Bearer x", "pässword", "Basic pässword", "Bearer pässword "):
            headers = {"Authorization": wrong.encode()}
            assert (await worker.client.get("/info", headers=headers)).status_code == 401
        allowed = {"Authorization": "Bearer pässword".encode()}
        assert (await worker.client.get("/info", headers=allowed)).status_code == 200
        assert (await worker.client.get("/nowhere", headers=allowed)).status_code == 404


async def test_errors_of_routing_have_the_one_shape(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        assert_refused(await worker.client.get("/nowhere"), 404, "not_found", "/nowhere")
        assert_refused(await worker.client.get("/generate"), 405, "method_not_allowed", "GET /generate")


async def test_no_header_invites_other_sites(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        for method in ("GET", "OPTIONS"):
            response = await worker.client.request(method, "/info", headers={"Origin": "http://elsewhere.example"})
            assert not [name for name in response.headers if name.startswith("access-control")]


async def test_out_of_memory_answers_503_and_the_next_request_works(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_worker() as worker:
        model = worker.service.model.model
        forward = type(model).forward
        failures = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")]

        def sometimes(self: Any, *args: Any, **kwargs: Any) -> Any:
            if failures:
                raise failures.pop()
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(type(model), "forward", sometimes)
        assert_refused(await worker.generate(masks=BASKET), 503, "out_of_memory", "memory")
        assert (await worker.generate(masks=BASKET)).status_code == 200
        assert worker.exit_codes == []


async def test_what_fails_after_the_first_token_is_an_error_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_worker() as worker:
        model = worker.service.model.model
        forward, calls = type(model).forward, [0]

        def fail_later(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == 4:
                raise RuntimeError("private")
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(type(model), "forward", fail_later)
        body = {"prompt": PROMPT, "max_new_tokens": 8}
        response = await worker.client.post("/generate", json=body, headers={"Accept": STREAM})
        stream = events(response.text)
        assert [name for name, _ in stream] == ["token"] * 6 + ["error"]
        assert stream[-1][1]["error"] == "internal_error"
        assert "private" not in response.text
        calls[0] = 3
        assert_refused(await worker.generate(), 500, "internal_error")


async def test_masks_that_leave_the_range_of_numbers_are_answered_in_both_forms() -> None:
    async with running_worker() as worker:
        masks = [{"key": "L1.K1", "factor": 1e38}]
        assert_refused(await worker.generate(masks=masks), 422, "logits_not_finite", "token 0")
        body = {"prompt": PROMPT, "masks": masks}
        response = await worker.client.post("/generate", json=body, headers={"Accept": STREAM})
        assert_refused(response, 422, "logits_not_finite", "token 0")


@pytest.mark.parametrize("accept", [STREAM, "application/json"])
async def test_a_client_that_leaves_while_it_waits_leaves_the_queue(accept: str) -> None:
    async with running_worker() as worker:
        opened, gone = await block(worker), asyncio.Event()
        asked = asyncio.ensure_future(vanish(worker.app, {"prompt": PROMPT}, accept, gone))
        await worker.until("waiting == 1")
        gone.set()
        await worker.until("waiting == 0")
        await asked
        opened.set()
        await worker.until("running == 0")
        metrics = (await worker.client.get("/metrics")).text
    assert 'keyscope_worker_requests_total{outcome="cancelled"} 1.0' in metrics


@pytest.mark.parametrize("accept", [STREAM, "application/json"])
async def test_a_client_that_leaves_midway_ends_its_generation(accept: str) -> None:
    async with running_worker() as worker:
        gone = asyncio.Event()
        body = {"prompt": PROMPT, "max_new_tokens": 500}
        asked = asyncio.ensure_future(vanish(worker.app, body, accept, gone))
        await worker.until("running == 1")
        await asyncio.sleep(0.05)
        gone.set()
        await worker.until("running == 0")
        await asked
        metrics = (await worker.client.get("/metrics")).text
        assert 'keyscope_worker_requests_total{outcome="cancelled"} 1.0' in metrics
        tokens = next(line for line in metrics.splitlines() if line.startswith("keyscope_worker_tokens_total "))
        assert float(tokens.split()[1]) < 900
        assert (await worker.generate()).status_code == 200


async def test_metrics_count_requests_tokens_and_seconds() -> None:
    async with running_worker() as worker:
        await worker.generate(max_new_tokens=5)
        await worker.generate(max_new_tokens=513)
        opened = await block(worker)
        waiting = asyncio.ensure_future(worker.generate())
        await worker.until("waiting == 1")
        text = (await worker.client.get("/metrics")).text
        opened.set()
        await waiting
    for line in (
        'keyscope_worker_requests_total{outcome="done"} 1.0',
        'keyscope_worker_requests_total{outcome="too_many_new_tokens"} 1.0',
        "keyscope_worker_tokens_total 10.0",
        "keyscope_worker_waiting 1.0",
        "keyscope_worker_running 1.0",
        "keyscope_worker_work_seconds_count 1.0",
        "keyscope_worker_queue_seconds_count 2.0",
    ):
        assert line in text.splitlines()


async def test_the_engine_ends_with_the_application(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        assert worker.service.engine.alive
    assert not worker.service.engine.alive


async def test_a_worker_whose_engine_has_ended_is_not_healthy(tiny_folder: Path) -> None:
    async with running_worker(tiny_folder) as worker:
        assert (await worker.client.get("/healthz")).status_code == 200
        worker.service.engine.close()
        assert_refused(await worker.client.get("/healthz"), 503, "worker_stopping")
        assert_refused(await worker.generate(), 503, "worker_stopping")


async def test_nothing_is_loaded_before_the_application_starts(tmp_path: Path) -> None:
    app = create_worker_app(WorkerSettings(model=str(tmp_path)))
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        async with app.router.lifespan_context(app):
            pass


def test_settings_come_from_the_environment_and_each_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(field.description for field in WorkerSettings.model_fields.values())
    for name, value in {"MODEL": str(NANO), "QUEUE": "7", "TOKEN": "", "REVISION": ""}.items():
        monkeypatch.setenv(f"KEYSCOPE_WORKER_{name}", value)
    settings = WorkerSettings()  # type: ignore[call-arg]
    assert (settings.source.model_id, settings.queue, settings.token, settings.revision) == (str(NANO), 7, None, None)
    with pytest.raises(ValueError, match="greater than or equal to 4096"):
        WorkerSettings(model="x", masks=4095)
