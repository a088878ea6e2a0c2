"""A worker that tells the server where it is."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from keyscope.worker.live import announcing
from keyscope.worker.live.announcing import CannotAnnounce, announced, own_address
from keyscope.worker.live.settings import WorkerSettings
from tests.serving import serving


class Listening:
    """A server that is told of workers."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.refuses = False
        self.app = FastAPI()
        self.app.put("/api/v1/workers")(self.take)

    async def take(self, request: Request) -> Response:
        self.told.append(await request.json())
        self.tokens.add(request.headers["authorization"])
        refusal = {"ok": False, "error": "worker_token_needed", "detail": "another token"}
        return JSONResponse(refusal if self.refuses else {"ok": True, "seconds": 20}, 401 if self.refuses else 200)


def settings(server: str, **more: Any) -> WorkerSettings:
    return WorkerSettings(model="nano", token="s3cret", register_with=server, port=8100, **more)


async def announce(server: Listening, wanted: WorkerSettings, times: int) -> None:
    async with announced(wanted), asyncio.timeout(20):
        while len(server.told) < times:
            await asyncio.sleep(0.01)


def test_a_worker_says_where_it_is_again_and_again_and_takes_leave(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(announcing, "EVERY_SECONDS", 0.01)
    server = Listening()
    with serving(server.app) as url:
        asyncio.run(announce(server, settings(url), times=3))
    assert server.told[:3] == [{"url": "http://127.0.0.1:8100", "leaving": False}] * 3
    assert server.told[-1] == {"url": "http://127.0.0.1:8100", "leaving": True}
    assert server.tokens == {"Bearer s3cret"}


def test_what_keeps_the_server_from_listening_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(announcing, "EVERY_SECONDS", 0.01)
    server = Listening()
    server.refuses = True
    with serving(server.app) as url, caplog.at_level(logging.WARNING):
        asyncio.run(announce(server, settings(url, address="http://gpu:8100"), times=4))
    (said,) = [record.message for record in caplog.records if record.name == announcing.log.name]
    assert "does not take this worker: another token" in said
    assert server.told[0]["url"] == "http://gpu:8100"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"register_with": "app:8000"}, "http://HOST:PORT"),
        ({"token": None}, "KEYSCOPE_WORKER_TOKEN"),
        ({"port": 0}, "--port"),
    ],
)
def test_what_cannot_be_announced_is_said_at_the_start(change: dict[str, Any], says: str):
    wanted = settings("http://127.0.0.1:8000").model_copy(update=change)
    with pytest.raises(CannotAnnounce, match=says):
        own_address(wanted)


def test_a_server_that_cannot_be_looked_up_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotAnnounce, match="app cannot be looked up"):
        own_address(settings("http://app:8000"))


def test_a_worker_that_is_not_told_to_announces_nothing(tmp_path: Path):
    async def enter() -> None:
        async with announced(WorkerSettings(model="nano")):
            pass

    asyncio.run(enter())
