import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.wire import GenerateAnswer
from tests.app.scripted_worker import DONE, TOKEN, ScriptedWorker
from tests.serving import serving

URL = "/api/v1/live/generate"
STATUS = "/api/v1/live/status?run=alpha"
BODY = {"run": "alpha", "prompt": "import numpy as np\n", "masks": [{"key": "L1.K2"}]}
STREAM = {"Accept": "text/event-stream"}
BRANCH = {"text": "x", "tokens": [{"token": "x", "token_id": 1, "logprob": -0.5, "top": []}]}
ANSWER = {
    "baseline": BRANCH,
    "masked": BRANCH,
    "first_divergence": None,
    "applied": {"keys": 1, "positions": 3},
    "elapsed_ms": 2.0,
}


@pytest.fixture
def worker(weights: dict[str, str]) -> ScriptedWorker:
    worker = ScriptedWorker(weights["alpha"])
    worker.answer = ANSWER
    return worker


@pytest.fixture
def worker_url(worker: ScriptedWorker) -> Iterator[str]:
    with serving(worker.app) as url:
        yield url


@pytest.fixture
def live(settings: Settings, worker_url: str) -> Settings:
    return settings.model_copy(update={"worker_urls": [worker_url], "worker_token": SecretStr("s3cret")})


@pytest.fixture
def live_client(live: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(live)) as client:
        yield client


@pytest.fixture
def served(live: Settings) -> Iterator[httpx.Client]:
    """The app on a real socket, for streams and clients that vanish."""
    with serving(create_app(live)) as url, httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        yield client


def wait_until(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def error_of(stream: bytes) -> dict[str, Any]:
    """The data of the last event, which has to be an error."""
    _, _, data = stream.rpartition(b"event: error\ndata: ")
    assert data.endswith(b"\n\n")
    answer: dict[str, Any] = json.loads(data)
    return answer


def test_both_branches_come_back_as_the_worker_gave_them(live_client: TestClient, worker: ScriptedWorker):
    answer = live_client.post(URL, json=BODY)
    assert answer.status_code == 200
    assert GenerateAnswer.model_validate(answer.json()) == GenerateAnswer.model_validate(ANSWER)


def test_a_worker_is_asked_for_the_weights_of_the_run_with_our_secret(live_client: TestClient, worker: ScriptedWorker):
    masks = [{"key": "l1.k2", "factor": 0}, {"key": "L1.K2"}, {"key": "L0.K5", "factor": 0.5}]
    options: dict[str, Any] = {"max_new_tokens": 7, "temperature": 0.5, "seed": 3, "top_logprobs": 2}
    options |= {"control": [{"key": "L1.K1", "factor": 0}], "positions": {"first": 1, "last": 3}}
    answer = live_client.post(URL, json={**BODY, "masks": masks, **options}, headers={"X-Request-ID": "4f1c"})
    assert worker.headers["authorization"] == "Bearer s3cret"
    assert (answer.headers["x-request-id"], worker.headers["x-request-id"]) == ("4f1c", "4f1c")
    assert worker.asked == [
        {
            "prompt": BODY["prompt"],
            "masks": [{"key": "L1.K2", "factor": 0}, {"key": "L0.K5", "factor": 0.5}],
            "weights_sha256": worker.info["weights_sha256"],
            **options,
        }
    ]


@pytest.mark.parametrize(
    ("changes", "status", "error", "says"),
    [
        ({"run": "nope"}, 404, "unknown_run", "alpha"),
        ({"run": "../alpha"}, 404, "unknown_run", "alpha"),
        ({"masks": [{"key": "L1.K6"}]}, 404, "unknown_key", "L1.K0 to L1.K5"),
        ({"masks": [{"key": "L2.K0"}]}, 404, "unknown_layer", "0 to 1"),
        ({"control": [{"key": "L1.K6"}]}, 404, "unknown_key", "L1.K0 to L1.K5"),
        ({"control": [{"key": "L1.K2"}, {"key": "L1.K2", "factor": 1}]}, 422, "invalid_mask", "two ways"),
        ({"positions": {"first": 3, "last": 1}}, 422, "invalid_request", "before its start"),
        ({"positions": "nowhere"}, 422, "invalid_request", "positions"),
        ({"masks": [{"key": "here"}]}, 422, "invalid_request", "here"),
        ({"masks": [{"key": "L1.K2", "factor": 0}, {"key": "L1.K2", "factor": 1}]}, 422, "invalid_mask", "two ways"),
        ({"masks": [{"key": "L1.K2", "factor": "inf"}]}, 422, "invalid_request", "finite"),
        ({"prompt": ""}, 422, "invalid_request", "prompt"),
        ({"temperature": -1}, 422, "invalid_request", "temperature"),
        ({"max_new_tokens": 0}, 422, "invalid_request", "max_new_tokens"),
        ({"unknown": 1}, 422, "invalid_request", "unknown"),
    ],
)
def test_a_request_is_checked_against_the_run_before_the_worker_is_asked(
    live_client: TestClient, worker: ScriptedWorker, changes: dict[str, Any], status: int, error: str, says: str
):
    answer = live_client.post(URL, json={**BODY, **changes})
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert says in answer.json()["detail"]
    assert worker.asked == []


def test_the_next_token_is_read_under_the_sets_of_masks_of_the_request(live_client: TestClient, worker: ScriptedWorker):
    worker.answer = {"branches": [{"top": [], "tokens": [{"token": "x", "token_id": 3, "logprob": -0.5}]}]}
    body = {"run": "alpha", "text": "x", "masks": [[], [{"key": "l1.k2"}, {"key": "L1.K2"}]], "tokens": [3]}
    answer = live_client.post("/api/v1/live/next", json=body).json()
    assert answer["branches"][0]["tokens"][0]["logprob"] == -0.5
    (asked,) = worker.asked
    assert asked["masks"] == [[], [{"key": "L1.K2", "factor": 0}]]
    assert (asked["text"], asked["tokens"]) == ("x", [3])
    assert asked["weights_sha256"] == worker.info["weights_sha256"]
    body["masks"] = [[{"key": "L1.K6"}]]
    assert live_client.post("/api/v1/live/next", json=body).json()["error"] == "unknown_key"
    assert len(worker.asked) == 1


def test_four_thousand_masks_are_taken(live_client: TestClient, worker: ScriptedWorker, runs_dir: Path):
    masks = [{"key": f"L1.K{index % 6}"} for index in range(4096)]
    assert live_client.post(URL, json={**BODY, "masks": masks}).status_code == 200
    assert len(worker.asked[0]["masks"]) == 6


@pytest.mark.parametrize("headers", [{}, STREAM])
@pytest.mark.parametrize("status", [400, 413, 422, 429, 503])
def test_a_refusal_of_the_worker_is_passed_on(
    live_client: TestClient, worker: ScriptedWorker, status: int, headers: dict[str, str]
):
    refusal = {"ok": False, "error": "prompt_too_long", "detail": "9 tokens, the limit is 8"}
    worker.refusal = status, refusal, {"Retry-After": "7"}
    answer = live_client.post(URL, json=BODY, headers=headers)
    assert answer.status_code == status
    assert answer.json() == refusal
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((401, {"ok": False, "error": "unauthorized", "detail": "no"}, {}), "KEYSCOPE_WORKER_TOKEN"),
        ((500, "Internal Server Error", {}), "500 without giving a reason"),
        ((500, {"ok": False, "error": "mask_did_nothing", "detail": "0 positions"}, {}), "0 positions"),
    ],
)
def test_a_failure_of_the_worker_is_not_the_clients(
    live_client: TestClient, worker: ScriptedWorker, refusal: tuple[int, Any, dict[str, str]], says: str
):
    worker.refusal = refusal
    answer = live_client.post(URL, json=BODY)
    assert answer.status_code == 502
    assert answer.json()["error"] == "worker_failed"
    assert says in answer.json()["detail"]


def test_an_answer_that_cannot_be_read_is_an_error(live_client: TestClient, worker: ScriptedWorker):
    worker.answer = {"text": "of another version"}
    answer = live_client.post(URL, json=BODY)
    assert (answer.status_code, answer.json()["error"]) == (502, "worker_failed")


def test_without_a_worker_both_ways_say_how_to_start_one(client: TestClient):
    answer = client.post(URL, json=BODY)
    assert answer.status_code == 503
    assert answer.json()["error"] == "worker_unavailable"
    assert "keyscope worker" in answer.json()["detail"]
    assert client.get(STATUS).json()["state"] == "not_configured"


def test_a_worker_that_is_down_is_named(settings: Settings):
    down = settings.model_copy(update={"worker_urls": ["http://127.0.0.1:9"]})
    with TestClient(create_app(down)) as client:
        answer = client.post(URL, json=BODY)
        status = client.get(STATUS).json()
    assert answer.status_code == 503
    assert answer.json()["error"] == "worker_unavailable"
    assert "127.0.0.1:9" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "5"
    assert (status["state"], status["worker"]) == ("down", None)


def test_a_worker_with_other_weights_is_refused_naming_both(live_client: TestClient, worker: ScriptedWorker):
    ours = worker.info["weights_sha256"][:8]
    worker.info = {**worker.info, "weights_sha256": "f" * 64}
    answer = live_client.post(URL, json=BODY)
    assert answer.status_code == 409
    assert answer.json()["error"] == "worker_other_weights"
    assert ours in answer.json()["detail"]
    assert "ffffffff" in answer.json()["detail"]
    assert live_client.get(STATUS).json()["state"] == "other_weights"


def test_what_is_no_worker_is_not_taken_for_one(live_client: TestClient, worker: ScriptedWorker):
    worker.info = {"hello": "world"}
    status = live_client.get(STATUS).json()
    assert status["state"] == "down"
    assert "is not a live worker" in status["detail"]


def test_each_run_finds_the_worker_with_its_weights(settings: Settings, live: Settings, weights: dict[str, str]):
    other = ScriptedWorker(weights["gated"])
    other.answer = ANSWER
    with serving(other.app) as url:
        both = live.model_copy(update={"worker_urls": ["http://127.0.0.1:9", *live.worker_urls, url]})
        with TestClient(create_app(both)) as client:
            assert client.post(URL, json={**BODY, "run": "gated"}).status_code == 200
            assert client.post(URL, json=BODY).status_code == 200
    assert [asked["weights_sha256"] for asked in other.asked] == [weights["gated"]]


def test_the_status_says_who_would_generate_and_whether_it_is_busy(
    live_client: TestClient, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("keyscope.app.live.client.FRESH_SECONDS", 0)
    ready = live_client.get(STATUS).json()
    worker.info = {**worker.info, "running": True, "waiting": 2}
    busy = live_client.get(STATUS).json()
    assert ready["state"] == "up"
    assert ready["worker"]["limits"]["masks"] == 8
    assert busy["state"] == "busy"
    assert "2 requests" in busy["detail"]
    assert live_client.get("/api/v1/live/status?run=nope").status_code == 404


def test_a_worker_is_not_asked_who_it_is_at_every_request(live_client: TestClient, worker: ScriptedWorker):
    for _ in range(5):
        live_client.get(STATUS)
    assert worker.infos == 1


def test_a_stream_comes_byte_for_byte_and_is_never_cached_or_buffered(served: httpx.Client, worker: ScriptedWorker):
    worker.events = [TOKEN, b": ping\r\n\r\n", DONE[:9], DONE[9:]]
    answer = served.post(URL, json=BODY, headers=STREAM)
    assert answer.status_code == 200
    assert answer.content == b"".join(worker.events)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_event_is_handed_on_before_the_next_is_there(served: httpx.Client, worker: ScriptedWorker):
    worker.steps = asyncio.Semaphore(1)
    with served.stream("POST", URL, json=BODY, headers=STREAM) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == TOKEN
        worker.steps.release()
        assert next(chunks) == DONE


def test_a_client_that_leaves_a_stream_stops_the_worker(served: httpx.Client, worker: ScriptedWorker):
    worker.steps = asyncio.Semaphore(1)
    with served.stream("POST", URL, json=BODY, headers=STREAM) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == TOKEN
        assert not worker.left_early
    wait_until(lambda: worker.left_early)


def test_a_client_that_leaves_while_it_waits_stops_the_worker(served: httpx.Client, worker: ScriptedWorker):
    worker.steps = asyncio.Semaphore(0)
    with pytest.raises(httpx.ReadTimeout):
        served.post(URL, json=BODY, timeout=2.0)
    wait_until(lambda: worker.left_early)


def test_a_stream_that_ends_without_an_end_gets_an_error_event(served: httpx.Client, worker: ScriptedWorker):
    worker.events = [TOKEN, b"event: token\ndata: {"]
    stream = served.post(URL, json=BODY, headers=STREAM).content
    assert stream.startswith(TOKEN + b"event: error\n")
    assert error_of(stream)["error"] == "worker_unavailable"


def test_an_error_event_of_the_worker_is_an_end(served: httpx.Client, worker: ScriptedWorker):
    worker.events = [TOKEN, b'event: error\ndata: {"ok": false, "error": "no_memory", "detail": "x"}\n\n']
    assert served.post(URL, json=BODY, headers=STREAM).content == b"".join(worker.events)


def test_a_worker_that_falls_silent_is_given_up(live: Settings, worker: ScriptedWorker):
    worker.steps = asyncio.Semaphore(1)
    impatient = create_app(live.model_copy(update={"worker_timeout": 0.3}))
    with serving(impatient) as url:
        stream = httpx.post(url + URL, json=BODY, headers=STREAM, trust_env=False).content
    assert stream.startswith(TOKEN)
    assert error_of(stream)["error"] == "worker_timeout"


def test_a_worker_killed_mid_stream_is_said_and_works_again_when_it_is_back(
    settings: Settings, weights: dict[str, str]
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.app.scripted_worker", str(port), weights["alpha"]]
    root = Path(__file__).parents[3]
    live = settings.model_copy(update={"worker_urls": [f"http://127.0.0.1:{port}"]})
    with serving(create_app(live)) as url, httpx.Client(base_url=url, timeout=20, trust_env=False) as client:

        def state() -> str:
            return str(client.get(STATUS).json()["state"])

        process = subprocess.Popen(command, cwd=root)
        try:
            wait_until(lambda: state() == "up", 30)
            with client.stream("POST", URL, json=BODY, headers=STREAM) as answer:
                chunks = answer.iter_raw()
                assert next(chunks) == TOKEN
                os.kill(process.pid, signal.SIGKILL)
                rest = b"".join(chunks)
            assert error_of(rest)["error"] == "worker_unavailable"
            assert rest.startswith(b"event: error\n")
            process.wait()
            wait_until(lambda: state() == "down")
            assert client.post(URL, json=BODY).json()["error"] == "worker_unavailable"
            process = subprocess.Popen(command, cwd=root)
            wait_until(lambda: state() == "up", 30)
            with client.stream("POST", URL, json=BODY, headers=STREAM) as answer:
                assert next(answer.iter_raw()) == TOKEN
        finally:
            process.kill()
            process.wait()
