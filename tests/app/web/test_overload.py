"""More requests than the server can answer soon."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web.overload import MOST_AT_ONCE, PAGE_THREADS, RETRY_SECONDS, Overloaded, ShedLoad
from tests.app.listening import until
from tests.serving import serving

PATIENCE = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def busy(settings: Settings) -> Iterator[str]:
    """The address of a server all of whose places are taken by requests that hold a thread."""
    app, running, go_on = create_app(settings), [], threading.Event()

    def in_progress() -> int:
        layer = app.middleware_stack
        while not isinstance(layer, ShedLoad):
            layer = layer.app  # type: ignore[union-attr]
        return layer.in_progress

    @app.get("/slow")
    def slow() -> str:
        running.append(1)
        go_on.wait(PATIENCE)
        return "done"

    with serving(app) as url, ThreadPoolExecutor(MOST_AT_ONCE) as clients, httpx.Client(timeout=PATIENCE) as client:
        answers = [clients.submit(client.get, f"{url}/slow") for _ in range(MOST_AT_ONCE)]
        try:
            until(lambda: len(running) == PAGE_THREADS and in_progress() == MOST_AT_ONCE)
            yield url
        finally:
            go_on.set()
        assert [each.result().status_code for each in answers] == [200] * MOST_AT_ONCE


def test_requests_beyond_the_limit_are_refused_at_once_and_what_tells_of_it_is_answered(busy: str):
    with httpx.Client(base_url=busy, timeout=10) as client:
        answer = client.get("/api/v1/runs")
        assert (answer.status_code, answer.json()["error"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == str(RETRY_SECONDS)
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert f"busy with {MOST_AT_ONCE} requests: try again" in page.text
        assert page.headers["Content-Security-Policy"]
        for path in ("/healthz", "/metrics", "/static/css/keyscope.css"):
            assert client.get(path).status_code == 200


def scope(path: str = "/", **more: Any) -> dict[str, Any]:
    return {"type": "http", "path": path, "root_path": "", "method": "POST", "headers": []} | more


async def ignore(message: Any) -> None:
    pass


@pytest.mark.anyio
async def test_a_request_whose_body_still_arrives_takes_no_place():
    arrived = anyio.Event()
    answered: list[str] = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        answered.append(scope["path"])

    async def slowly() -> dict[str, Any]:
        await arrived.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def at_once() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    limited = ShedLoad(read, most=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limited, scope("/slow"), slowly, ignore)
        await anyio.wait_all_tasks_blocked()
        await limited(scope("/quick"), at_once, ignore)
        arrived.set()
    assert answered == ["/quick", "/slow"]
    assert limited.in_progress == 0


@pytest.mark.anyio
async def test_a_client_that_leaves_before_its_body_has_arrived_takes_no_place():
    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def read(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"
        assert limited.in_progress == 0

    limited = ShedLoad(read, most=1)
    await limited(scope(), leave, ignore)
    assert limited.in_progress == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "refused"), [(b"text/event-stream; charset=utf-8", False), (b"text/html", True)])
async def test_an_open_event_stream_takes_no_place(kind: bytes, refused: bool):
    end = anyio.Event()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await end.wait()

    limited = ShedLoad(answer, most=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limited, scope(), ignore, ignore)
        await anyio.wait_all_tasks_blocked()
        if refused:
            with pytest.raises(Overloaded):
                await limited(scope(), ignore, ignore)
        else:
            tasks.start_soon(limited, scope(), ignore, ignore)
            await anyio.wait_all_tasks_blocked()
        end.set()
    assert limited.in_progress == 0
