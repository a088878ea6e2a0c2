"""Workers that are found by name or say where they are, and requests that outlive the worker they went to first."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import update

from keyscope.app.database.engine import Database
from keyscope.app.live import directory
from keyscope.app.live.directory import Directory
from keyscope.app.live.models import AnnouncedWorker
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.app.live.test_client import ANSWER, BODY, STATUS, STREAM, URL, error_of, wait_until
from tests.app.scripted_worker import TOKEN, ScriptedWorker
from tests.processes import free_port
from tests.serving import serving

SECRET = {"Authorization": "Bearer s3cret"}
ANNOUNCE = "/api/v1/workers"


def found_at(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let every name have these addresses; none: it cannot be looked up."""

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if not hosts:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(directory, "FRESH_SECONDS", -1.0)


def test_a_name_stands_for_all_its_addresses_and_keeps_them_while_it_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch,
):
    places = Directory(["http://gpu:8001/", "dns+http://worker:8100"])
    found_at(monkeypatch, "10.0.0.2", "fd00::1", "10.0.0.2")
    expected = ["http://gpu:8001", "http://10.0.0.2:8100", "http://[fd00::1]:8100"]
    assert asyncio.run(places.urls()) == expected
    found_at(monkeypatch)
    assert asyncio.run(places.urls()) == expected
    assert places.problems == []


def test_a_name_without_an_address_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    found_at(monkeypatch)
    named = settings.model_copy(update={"worker_urls": ["dns+http://nowhere:8100"]})
    with TestClient(create_app(named)) as client:
        status = client.get(STATUS).json()
    assert status["state"] == "down"
    assert "dns+http://nowhere:8100 has no address" in status["detail"]


@pytest.fixture
def shared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a token, by which workers may announce themselves."""
    monkeypatch.setattr(directory, "FRESH_SECONDS", -1.0)
    return settings.model_copy(update={"worker_token": SecretStr("s3cret")})


def test_a_worker_that_says_where_it_is_is_found_by_every_server_until_it_leaves(
    shared: Settings, weights: dict[str, str]
):
    worker = ScriptedWorker(weights["alpha"])
    with (
        serving(worker.app) as url,
        TestClient(create_app(shared)) as one,
        TestClient(create_app(shared)) as other,
    ):
        assert one.get(STATUS).json()["state"] == "not_configured"
        assert one.put(ANNOUNCE, json={"url": url}, headers=SECRET).json() == {"ok": True, "seconds": 20.0}
        assert [client.get(STATUS).json()["state"] for client in (one, other)] == ["up", "up"]
        one.put(ANNOUNCE, json={"url": url, "leaving": True}, headers=SECRET)
        assert other.get(STATUS).json()["state"] == "not_configured"


def test_a_worker_that_fell_silent_is_forgotten(shared: Settings):
    database = Database(shared.labels_url)
    database.write(lambda session: directory.announce(session, "http://127.0.0.1:9"))
    places = Directory([], database)
    assert asyncio.run(places.urls()) == ["http://127.0.0.1:9"]
    past = datetime.now(UTC) - timedelta(seconds=1)
    database.write(lambda session: session.execute(update(AnnouncedWorker).values(expires_at=past)))
    assert asyncio.run(places.urls()) == []
    database.close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}])
@pytest.mark.parametrize("accounts", ["none", "accounts"])
def test_nobody_says_where_workers_are_without_the_token(shared: Settings, accounts: str, headers: dict[str, str]):
    with TestClient(create_app(shared.model_copy(update={"accounts": accounts}))) as client:
        refused = client.put(ANNOUNCE, json={"url": "http://10.0.0.1"}, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (401, "worker_token_needed")
        taken = client.put(ANNOUNCE, json={"url": "http://10.0.0.1"}, headers=SECRET)
    assert taken.status_code == 200


def test_a_server_without_a_token_takes_no_workers(settings: Settings):
    with TestClient(create_app(settings)) as client:
        refused = client.put(ANNOUNCE, json={"url": "http://10.0.0.1"}, headers={"Authorization": "Bearer "})
    assert refused.status_code == 401
    assert "KEYSCOPE_WORKER_TOKEN" in refused.json()["detail"]


@contextlib.contextmanager
def two_workers(settings: Settings, weights: dict[str, str]) -> Iterator[tuple[TestClient, list[ScriptedWorker]]]:
    workers = [ScriptedWorker(weights["alpha"]) for _ in range(2)]
    for worker in workers:
        worker.answer = ANSWER
    with serving(workers[0].app) as one, serving(workers[1].app) as other:
        both = settings.model_copy(update={"worker_urls": [one, other]})
        with TestClient(create_app(both)) as client:
            yield client, workers


@pytest.mark.parametrize("headers", [{}, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize(("status", "code"), [(429, "queue_full"), (503, "worker_stopping")])
def test_what_one_worker_has_no_room_for_another_takes(
    settings: Settings, weights: dict[str, str], status: int, code: str, headers: dict[str, str]
):
    with two_workers(settings, weights) as (client, workers):
        workers[0].refusal = status, {"ok": False, "error": code, "detail": "no"}, {"Retry-After": "7"}
        assert client.post(URL, json=BODY, headers=headers).status_code == 200
        assert [len(worker.asked) for worker in workers] == [1, 1]
        workers[1].refusal = workers[0].refusal
        refused = client.post(URL, json=BODY, headers=headers)
    assert (refused.status_code, refused.json()["error"], refused.headers["Retry-After"]) == (status, code, "7")


def test_what_is_wrong_with_a_request_is_not_asked_of_another_worker(settings: Settings, weights: dict[str, str]):
    with two_workers(settings, weights) as (client, workers):
        for worker in workers:
            worker.refusal = 400, {"ok": False, "error": "prompt_too_long", "detail": "9 tokens"}, {}
        assert client.post(URL, json=BODY).status_code == 400
    assert sum(len(worker.asked) for worker in workers) == 1


def test_a_worker_that_does_not_say_who_it_is_keeps_nobody_waiting(settings: Settings, weights: dict[str, str]):
    with two_workers(settings, weights) as (client, workers), socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = client.app.state.settings  # type: ignore[attr-defined]
        with TestClient(create_app(settings.model_copy(update={"worker_urls": [url, *settings.worker_urls]}))) as third:
            assert third.post(URL, json=BODY).status_code == 200
    assert sum(len(worker.asked) for worker in workers) == 1


def test_a_worker_killed_under_load_takes_only_the_streams_it_had(settings: Settings, weights: dict[str, str]):
    ports = [free_port(), free_port()]
    command = [sys.executable, "-m", "tests.app.scripted_worker"]
    root = Path(__file__).parents[3]
    started = [subprocess.Popen([*command, str(port), weights["alpha"]], cwd=root) for port in ports]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    app = create_app(settings.model_copy(update={"worker_urls": urls}))
    over, statuses = threading.Event(), []

    def keep_asking(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not over.is_set():
                with client.stream("POST", URL, json=BODY, headers=STREAM) as answer:
                    statuses.append(answer.status_code)  # begins, and is left at once

    try:
        wait_until(lambda: all(is_up(url) for url in urls), 60)
        with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            with client.stream("POST", URL, json=BODY, headers=STREAM) as at_first:
                chunks = at_first.iter_raw()
                assert next(chunks) == TOKEN
                load = [threading.Thread(target=keep_asking, args=(url,)) for _ in range(3)]
                for thread in load:
                    thread.start()
                wait_until(lambda: len(statuses) > 10, 30)
                os.kill(started[0].pid, signal.SIGKILL)
                assert error_of(b"".join(chunks))["error"] == "worker_unavailable"
            before = len(statuses)
            wait_until(lambda: len(statuses) > before + 20, 30)
            over.set()
            for thread in load:
                thread.join()
    finally:
        over.set()
        for process in started:
            process.kill()
            process.wait()
    assert set(statuses) == {200}


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/info", trust_env=False).is_success
    except httpx.HTTPError:
        return False
