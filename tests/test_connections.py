"""Both servers, as processes, under connections that only cost them something."""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from keyscope.serving import connections
from tests.made.runs import build_run
from tests.processes import KEYSCOPE, answers, free_port, held, wait_until, with_few_descriptors
from tests.serving import serving

BEGUN = {
    "silent": b"",
    "half a head": b"GET / HTTP/1.1\r\nX-A: ",
    "half a body": b"POST /api/v1/baskets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
}


@dataclass(frozen=True)
class Server:
    port: int
    pid: int
    log: Path

    def seconds_to_answer(self) -> float:
        started = time.monotonic()
        assert httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=30, trust_env=False).is_success
        return time.monotonic() - started

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with few descriptors."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    runs = build_run(folder / "runs" / "alpha.duckdb").parent
    command = with_few_descriptors([*KEYSCOPE, "serve", "--runs", str(runs), "--port", str(port)])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}/healthz"
        assert wait_until(lambda: process.poll() is not None or answers(address)), "the server did not start"
        yield Server(port, process.pid, folder / "log")
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
def test_connections_without_a_request_leave_a_server_answering(server: Server, begun: bytes):
    logged, spent = server.log.stat().st_size, server.cpu_seconds()
    with held(server.port, begun):
        assert server.seconds_to_answer() < 5
        time.sleep(1)
        assert server.seconds_to_answer() < 5
    assert server.log.stat().st_size - logged < 100_000
    httpx.get(f"http://127.0.0.1:{server.port}/lens?text=secret", trust_env=False)
    assert "/lens?... HTTP" in server.log.read_text()
    assert "secret" not in server.log.read_text()
    assert server.cpu_seconds() - spent < 3


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body, with a slow event stream at `/events`, with very much at `/long`."""
    if scope["type"] != "http":
        return
    answer: PlainTextResponse | StreamingResponse
    match scope["path"]:
        case "/events":
            answer = StreamingResponse(events(), media_type="text/event-stream")
        case "/long":
            answer = PlainTextResponse(b"x" * 50_000_000)
        case _:
            answer = PlainTextResponse(str(len(await Request(scope, receive).body())))
    await answer(scope, receive, send)


async def events():
    for number in range(6):
        yield f"data: {number}\n\n"
        await asyncio.sleep(PATIENCE)


PATIENCE = 0.3


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server of little patience."""
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", PATIENCE)
    with serving(app) as url:
        yield int(url.rpartition(":")[2])


def drip(port: int, begun: bytes, drop: bytes) -> float:
    """Seconds until the server gives up a client that sends a drop now and then."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        started = time.monotonic()
        client.sendall(begun)
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 15:
                time.sleep(PATIENCE / 5)
                client.sendall(drop)
        return time.monotonic() - started


WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "begun",
    [BEGUN["half a head"], BEGUN["half a body"], WHOLE + BEGUN["half a head"]],
    ids=["head", "body", "head of a second request"],
)
def test_a_request_that_drips_is_given_up(port: int, begun: bytes):
    assert drip(port, begun, b"x") < 10


def test_a_silent_connection_is_given_up(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        assert client.recv(1) == b""


def test_an_upload_that_keeps_its_pace_is_read_to_its_end(port: int):
    def chunks():
        for _ in range(8):
            time.sleep(PATIENCE / 2)
            yield b"x" * 2000

    assert httpx.post(f"http://127.0.0.1:{port}/", content=chunks(), timeout=20).text == "16000"


def test_an_event_stream_lives_on(port: int):
    assert httpx.get(f"http://127.0.0.1:{port}/events", timeout=20).text.count("data") == 6


def test_a_client_that_does_not_read_its_answer_is_given_up(port: int):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(4 * PATIENCE)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(1_000_000):
                received += len(chunk)
    assert received < 50_000_000


def test_an_answer_that_is_read_slowly_arrives_whole(port: int):
    received = 0
    with httpx.stream("GET", f"http://127.0.0.1:{port}/long", timeout=20) as answer:
        for chunk in answer.iter_raw(10_000_000):
            time.sleep(PATIENCE / 2)
            received += len(chunk)
    assert received == 50_000_000


def test_clients_that_wait_for_an_answer_are_never_closed_for_others(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "connection_limit", lambda: 2)
    read: list[str] = []
    listening = threading.Thread(
        target=lambda: read.append(httpx.get(f"http://127.0.0.1:{port}/events", timeout=20).text)
    )
    listening.start()
    time.sleep(PATIENCE)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=20):
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=20).text == "0"
    listening.join(20)
    assert read[0].count("data") == 6
