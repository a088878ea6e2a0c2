from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.main import STATIC, create_app
from keyscope.app.settings import Settings
from keyscope.app.web.delivery.static_files import VersionedFiles
from keyscope.app.web.security import MAX_BODY_BYTES

BASKET = {"masks": [{"key": "L0.K1"}]}
URLS = ["/", "/api/v1/runs", "/api/v1/nothing", "/static/js/docs.js", "/docs", "/healthz", "/metrics", "/runs/nope"]


@pytest.mark.parametrize("url", URLS)
def test_every_answer_has_the_security_headers(client: TestClient, url: str):
    headers = client.get(url).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://testserver"},
    ],
)
def test_our_own_pages_and_programs_may_change_things(client: TestClient, headers: dict[str, str]):
    assert client.post("/api/v1/baskets", json=BASKET, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://testserver:8080"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/api/v1/baskets"),
        ("POST", "/api/v1/live/generate"),
        ("PUT", "/api/v1/runs/alpha/keys/L0.K1/labels"),
        ("DELETE", "/api/v1/runs/alpha/keys/L0.K1/labels"),
    ],
)
def test_pages_of_other_sites_may_change_nothing(client: TestClient, method: str, url: str, headers: dict[str, str]):
    answer = client.request(method, url, json=BASKET, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"] == "cross_site_request"


def test_pages_of_other_sites_may_link_here(client: TestClient):
    assert client.get("/api/v1/runs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_body_over_the_limit_is_refused_with_both_numbers(client: TestClient):
    answer = client.post("/api/v1/baskets", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == "body_too_large"
    assert f"{MAX_BODY_BYTES:,}" in answer.json()["detail"]


def test_a_body_that_does_not_announce_its_size_is_counted(client: TestClient):
    def chunks():
        for _ in range(9):
            yield b" " * 2**20

    answer = client.post("/api/v1/baskets", content=chunks())
    assert answer.status_code == 413


def script_address(prefix: str) -> str:
    """What the documentation loads, below a prefix."""
    return f'src="{prefix}/static/{VersionedFiles(STATIC).version}/js/docs.js"'


@pytest.fixture
def prefixed(runs_dir: Path, sqlite_url: str) -> Settings:
    return Settings(runs=runs_dir, database_url=sqlite_url, root_path="/tools/keyscope")


@pytest.mark.parametrize("path", ["/docs", "/tools/keyscope/docs"])
def test_a_prefix_is_in_every_address_whether_the_proxy_strips_it_or_not(prefixed: Settings, path: str):
    with TestClient(create_app(prefixed)) as client:
        page = client.get(path).text
    assert script_address("/tools/keyscope") in page
    assert 'data-openapi="/tools/keyscope/openapi.json"' in page


@pytest.mark.parametrize("prefix", ["", "/tools/keyscope"])
@pytest.mark.parametrize("path", ["/static/js/docs.js", "/api/v1/runs/alpha/keys/L0.K1", "/openapi.json", "/healthz"])
def test_everything_is_found_under_a_prefix(prefixed: Settings, prefix: str, path: str):
    with TestClient(create_app(prefixed)) as client:
        assert client.get(prefix + path).status_code == 200


def test_an_error_under_a_prefix_is_json_where_it_was_json(prefixed: Settings):
    with TestClient(create_app(prefixed)) as client:
        assert client.get("/tools/keyscope/api/v1/nothing").json()["error"] == "not_found"


def docs_through(settings: Settings, prefix: str, address: str = "testclient") -> str:
    with TestClient(create_app(settings), client=(address, 50000)) as client:
        return client.get("/docs", headers={"X-Forwarded-Prefix": prefix}).text


@pytest.mark.parametrize("trusted", ["10.1.2.3", "10.0.0.0/8", "*"])
def test_the_prefix_of_a_trusted_proxy_is_believed(settings: Settings, trusted: str):
    trusting = settings.model_copy(update={"trusted_proxies": [trusted]})
    assert script_address("/behind") in docs_through(trusting, "/behind", "10.1.2.3")


def test_the_prefix_of_anybody_else_is_not(settings: Settings):
    assert script_address("") in docs_through(settings, "/behind")


@pytest.mark.parametrize("prefix", ["//evil.example", "/a//b", 'x"><script>', "http://evil.example"])
def test_a_prefix_that_is_no_path_is_ignored(settings: Settings, prefix: str):
    trusting = settings.model_copy(update={"trusted_proxies": ["testclient"]})
    assert script_address("") in docs_through(trusting, prefix)
