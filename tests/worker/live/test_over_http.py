"""The worker as its users run it: a process of its own, asked over a real connection."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import KEYSCOPE, free_port, held, with_few_descriptors
from tests.worker.live.driving import NANO

ROOT = Path(__file__).parents[3]
TOKEN = "a secret"

PROMPT = "import numpy as np\n\ndef f(x):\n    return"
"""Continued without an end: the model repeats itself."""


@contextlib.contextmanager
def served(log: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    environment = {"PYTHONPATH": str(ROOT), "KEYSCOPE_WORKER_MODEL": str(NANO), "KEYSCOPE_WORKER_TOKEN": TOKEN}
    environment |= {"KEYSCOPE_WORKER_SHUTDOWN_SECONDS": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            with_few_descriptors([*KEYSCOPE, "worker", "--port", str(port)]),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20, trust_env=False) as client:
            until(lambda: process.poll() is not None or answers(client), seconds=60)
            yield process, client
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    with served(tmp_path_factory.mktemp("worker") / "log") as worker:
        yield worker


@pytest.fixture
def client(worker: tuple[subprocess.Popen[bytes], httpx.Client]) -> httpx.Client:
    return worker[1]


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], seconds: float = 5) -> float:
    """Seconds until the condition holds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
    return time.monotonic() - started


def running(client: httpx.Client) -> bool:
    return bool(client.get("/info").json()["running"])


def ask(client: httpx.Client, **body: Any) -> contextlib.AbstractContextManager[httpx.Response]:
    return client.stream("POST", "/generate", json={"prompt": PROMPT} | body, headers={"Accept": "text/event-stream"})


def test_tokens_arrive_while_the_rest_is_still_being_generated(client: httpx.Client) -> None:
    with ask(client, max_new_tokens=200) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: token"
        assert json.loads(next(lines).removeprefix("data: "))["index"] == 0
        assert running(client)
        rest = list(lines)
    assert rest.count("event: token") == 399
    assert rest.count("event: done") == 1
    assert not running(client)


def test_a_broken_connection_ends_the_generation_at_once(client: httpx.Client) -> None:
    with ask(client, max_new_tokens=512) as response:
        assert next(response.iter_lines()) == "event: token"
    assert until(lambda: not running(client)) < 1
    metrics = client.get("/metrics").text
    assert 'keyscope_worker_requests_total{outcome="cancelled"} 1.0' in metrics


def test_a_client_that_gives_up_waiting_for_a_whole_answer_ends_the_generation(client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 512}, timeout=0.1)
    assert until(lambda: not running(client)) < 1


def test_a_body_that_is_too_large_is_answered_although_it_was_still_being_sent(client: httpx.Client) -> None:
    response = client.post("/generate", content=(b"x" * 100_000 for _ in range(100)))
    assert (response.status_code, response.json()["error"]) == (413, "body_too_large")
    assert "10,000,000 bytes" in response.json()["detail"]
    assert "the limit is 1,048,576" in response.json()["detail"]


@pytest.mark.parametrize("begun", [b"", b"POST /generate HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{"])
def test_connections_without_a_request_leave_the_worker_answering(client: httpx.Client, begun: bytes) -> None:
    assert client.base_url.port is not None
    with held(client.base_url.port, begun), ask(client, max_new_tokens=2) as response:
        assert response.is_success


def test_a_stopped_worker_tells_its_streams_and_ends_its_process(
    worker: tuple[subprocess.Popen[bytes], httpx.Client],
) -> None:
    """The last test, as the others need the worker."""
    process, client = worker
    with ask(client, max_new_tokens=512) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: token"
        process.send_signal(signal.SIGTERM)
        *_, event, data, _ = lines
        assert (event, json.loads(data.removeprefix("data: "))["error"]) == ("event: error", "server_stopping")
        process.wait(timeout=10)
