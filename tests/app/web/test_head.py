"""HEAD answers like GET, without a body."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.keys import KeyId
from tests.serving import serving

KEY = "/runs/alpha/keys/L1.K2"


@pytest.fixture(scope="module")
def app(module_settings: Settings) -> FastAPI:
    return create_app(module_settings)


@pytest.fixture(scope="module")
def http(app: FastAPI) -> Iterator[httpx.Client]:
    """A client over HTTP, where a body after HEAD would break the connection."""
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/live", 200),
        (KEY, 200),
        ("/runs/none", 404),
        ("/labels/undo", 404),
        ("/docs", 200),
        ("/healthz", 200),
        ("/openapi.json", 200),
        ("/static/js/docs.js", 200),
        ("/api/v1/runs", 200),
        (f"/api/v1{KEY}", 200),
        ("/api/v1/runs/alpha/file", 200),
        ("/api/v1/labels/export?format=csv", 200),
        ("/api/v1/live/generate", 405),
    ],
)
def test_head_has_the_status_and_headers_of_get_and_no_body(http: httpx.Client, path: str, status: int) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, get.status_code) == (status, status)
    assert head.content == b""
    own = ("date", "x-request-id")
    headers = [{name: text for name, text in each.headers.items() if name not in own} for each in (head, get)]
    assert headers[0] == headers[1]


def test_head_begins_no_stream(http: httpx.Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[KeyId] = []
    monkeypatch.setattr(app.state.changes, "follow", lambda target, *_: followed.append(target.key))
    answer = http.head(f"{KEY}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.content, followed) == (b"", [])
