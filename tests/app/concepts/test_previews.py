"""Previews of patterns that take long: cut, replaced, refused, and ended when their client leaves."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from keyscope.app.concepts import preview, previews
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.processes import children, wait_until
from tests.serving import serving

ADDRESS = "/runs/alpha/concepts"
SLOW = {"language": "python", "kind": "regex", "pattern": r"\w"}
BOTH = {"language": ["python", "go"], "kind": ["regex"] * 2, "pattern": [r"\w"] * 2}
HEAVY = "(?s)" + "(?:(?:.?){100}){9}" * 24 + "zz@"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[str]:
    """The address of a server whose previews take half a second for each window, and may for a minute."""
    monkeypatch.setattr(previews, "CHILD", "tests.app.concepts.slow")
    monkeypatch.setattr(preview, "SECONDS", 60.0)
    monkeypatch.setattr(previews, "AT_ONCE", 2)
    with serving(create_app(settings)) as url:
        yield url


def running(url: str) -> int:
    """Children at work here; the server runs in this process."""
    return sum(b"tests.app.concepts.slow" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid()))


def ask(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url + ADDRESS, params=SLOW, headers={"Accept": "text/html"} | headers, timeout=60, trust_env=False)


def test_what_was_found_until_the_time_is_up_is_shown(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(previews, "CHILD", "tests.app.concepts.slow")
    with TestClient(create_app(settings)) as client:
        page = client.get(ADDRESS, params=BOTH)
    first, second = (each.found for each in page.context["tried"])
    assert 0 < first.searched < first.windows
    assert first.matches >= first.windows_with == first.searched
    assert first.examples
    assert (second.searched, second.matches) == (0, 0)
    assert f"Looked at {first.searched} of {first.windows}" in page.text


def test_an_expression_that_would_take_minutes_is_refused_and_the_server_answers_meanwhile(settings: Settings) -> None:
    params = {"language": ["python", "java", "go"], "kind": ["regex"] * 3, "pattern": [HEAVY] * 3}
    with serving(create_app(settings)) as url, ThreadPoolExecutor(10) as clients:
        get = lambda _n: httpx.get(url + ADDRESS, params=params, timeout=30, trust_env=False)  # noqa: E731
        asked = [clients.submit(get, number) for number in range(10)]
        assert httpx.get(f"{url}/healthz", timeout=10, trust_env=False).status_code == 200
        assert all("pattern too large" in each.result().text for each in asked)


def test_many_slow_previews_leave_the_server_to_others(slow: str) -> None:
    with ThreadPoolExecutor(10) as clients:
        asked = [clients.submit(ask, slow) for _ in range(10)]
        assert wait_until(lambda: sum(each.done() for each in asked) >= 9)
        assert httpx.get(f"{slow}/healthz", timeout=10, trust_env=False).status_code == 200
        assert running(slow) <= 2
        answers = [each.result() for each in asked]
    refused = [each for each in answers if each.status_code == 429]
    assert len(refused) == 9
    assert all(int(each.headers["Retry-After"]) > 0 for each in refused)


def test_a_preview_ends_when_its_client_leaves(slow: str) -> None:
    with httpx.Client(timeout=1.0, trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        client.get(slow + ADDRESS, params=SLOW)
    assert wait_until(lambda: running(slow) == 0)


def test_another_site_gets_a_page_without_matches(client: TestClient) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
        page = client.get(ADDRESS, params=SLOW, headers=headers)
        assert page.status_code == 403
        assert all(each.found is None and "another site led here" in each.problem for each in page.context["tried"])
        assert client.get(ADDRESS, headers=headers).status_code == 200
    assert client.get(ADDRESS, params=SLOW, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
