"""Ids of requests, lines of JSON, secrets in files, and how a server ends."""

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from keyscope.app.settings import Settings
from keyscope.serving.logs import JsonLines
from keyscope.serving.requests import HEADER, NameRequests, id_headers
from keyscope.serving.settings import SecretFile
from keyscope.worker.live.settings import WorkerSettings
from tests.processes import answers, free_port, wait_until

ROOT = Path(__file__).parents[1]
log = logging.getLogger("keyscope.tests")


async def passed_on(request: Request) -> PlainTextResponse:
    """What would be sent to a worker, also from a thread."""
    here, there = id_headers(), await run_in_threadpool(id_headers)
    assert here == there
    log.warning("at work")
    return PlainTextResponse(here[HEADER])


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[Route("/", passed_on)], middleware=[Middleware(NameRequests)]))


@pytest.mark.parametrize("given", ["4f1c", "a-B_c.9", "x" * 64])
def test_a_request_keeps_the_id_that_it_came_with(client: TestClient, given: str):
    answer = client.get("/", headers={HEADER: given})
    assert (answer.headers[HEADER], answer.text) == (given, given)


@pytest.mark.parametrize("given", [None, "", "x" * 65, 'a"b', "a b", "a\\nb", "ä".encode("latin-1")])
def test_an_id_that_is_none_is_replaced(client: TestClient, given: Any):
    made = [client.get("/", headers={} if given is None else {HEADER: given}) for _ in range(2)]
    assert all(len(answer.headers[HEADER]) == 16 and answer.text == answer.headers[HEADER] for answer in made)
    assert made[0].text != made[1].text
    assert id_headers() == {}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged, as lines of JSON."""
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(self.format(record))

    handler, logger = Kept(), logging.getLogger("keyscope")
    handler.setFormatter(JsonLines())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_every_line_of_a_request_bears_its_id(client: TestClient, lines: list[str]):
    client.get("/?text=secret", headers={HEADER: "4f1c"})
    log.info("later")
    work, access, later = map(json.loads, lines)
    assert (work["message"], work["level"], work["request_id"]) == ("at work", "warning", "4f1c")
    assert (access["path"], access["status"], access["request_id"]) == ("/", 200, "4f1c")
    assert access["seconds"] >= 0
    assert "request_id" not in later
    assert not any("secret" in line for line in lines)


def test_an_error_is_one_line(lines: list[str]):
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed")
    (line,) = lines
    assert "ValueError: two\nlines" in json.loads(line)["exception"]
    assert "\n" not in line


SERVER = """
import sys
from contextlib import AsyncExitStack
import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from keyscope.serving.listening import listen
from keyscope.serving.streams import Closing

class Events(Closing, StreamingResponse):
    source = AsyncExitStack()

async def events():
    yield b"event: token\\ndata: 1\\n\\n"
    await anyio.sleep(0.5)
    yield b"event: token\\ndata: 2\\n\\n"
    await anyio.sleep(60)

async def health(request): return PlainTextResponse("ok")
async def stream(request): return Events(events(), media_type="text/event-stream")
app = Starlette(routes=[Route("/healthz", health), Route("/stream", stream)])
listen(app, "127.0.0.1", int(sys.argv[1]), log_format="json", shutdown_seconds=1)
"""


def test_a_server_that_ends_lets_streams_go_on_for_a_while_and_then_tells_them():
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: process.poll() is not None or answers(f"{url}/healthz"))
        with httpx.stream("GET", f"{url}/stream", timeout=30, trust_env=False) as stream:
            chunks = stream.iter_raw()
            assert b"data: 1" in next(chunks)
            process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: not answers(f"{url}/healthz"), 10), "it still accepts"
            rest = b"".join(chunks).decode()
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    second, last = rest.strip().split("\n\n")
    assert second == "event: token\ndata: 2"
    assert json.loads(last.removeprefix("event: error\ndata: "))["error"] == "server_stopping"
    assert all(json.loads(line)["logger"] for line in said.splitlines())
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize("kind", [Settings, WorkerSettings])
def test_every_secret_may_come_from_a_file(
    kind: type[Settings | WorkerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KEYSCOPE_WORKER_MODEL", "nano")
    secret = {name for name, field in kind.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret <= set(kind.secrets)
    for name in kind.secrets:
        (tmp_path / name).write_text(f"sqlite:///{name}\n")
        monkeypatch.setenv(f"{kind.model_config['env_prefix']}{name.upper()}_FILE", str(tmp_path / name))
    settings = kind()  # type: ignore[call-arg]
    for name in kind.secrets:
        value = getattr(settings, name)
        assert (value.get_secret_value() if isinstance(value, SecretStr) else value) == f"sqlite:///{name}"


@pytest.mark.parametrize(
    ("content", "also", "says"),
    [("", None, "is empty"), (None, None, "cannot be read"), ("s3cret", "another", "both set")],
)
def test_a_secret_that_a_file_does_not_give_is_named(
    content: str | None, also: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if content is not None:
        (tmp_path / "token").write_text(content)
    if also is not None:
        monkeypatch.setenv("KEYSCOPE_WORKER_TOKEN", also)
    monkeypatch.setenv("KEYSCOPE_WORKER_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(SecretFile, match=f"KEYSCOPE_WORKER_TOKEN.*{says}"):
        Settings()
