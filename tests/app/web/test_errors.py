from http import HTTPStatus

import duckdb
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from keyscope.app import queries
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web.error_handlers import Failure

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    app = create_app(settings)

    @app.get("/broken")
    @app.get("/api/v1/broken")
    def broken() -> None:
        raise RuntimeError("secret detail of the inside")

    @app.get("/api/v1/unreadable")
    def unreadable() -> None:
        raise duckdb.IOException("IO Error: could not read block 7\nstack: secret detail of the inside")

    @app.get("/api/v1/limited")
    def limited() -> None:
        raise HTTPException(429, "wait a little", headers={"Retry-After": "3"})

    return app


def test_an_unexpected_error_is_answered_without_its_inside_and_logged(app: FastAPI, caplog: pytest.LogCaptureFixture):
    with TestClient(app) as client:
        answer = client.get("/api/v1/broken")
        page = client.get("/broken", headers=HTML)
    assert answer.status_code == page.status_code == 500
    assert answer.json()["error"] == "internal_error"
    assert "secret" not in answer.text
    assert "secret" not in page.text
    assert "secret detail" in caplog.text


def test_an_unexpected_error_has_the_security_headers_too(app: FastAPI):
    with TestClient(app) as client:
        assert "default-src 'none'" in client.get("/broken").headers["Content-Security-Policy"]


def test_an_error_of_the_database_is_one_sentence(app: FastAPI):
    with TestClient(app) as client:
        answer = client.get("/api/v1/unreadable").json()
    assert answer["error"] == "run_file_error"
    assert "could not read block 7" in answer["detail"]
    assert "secret" not in answer["detail"]


def test_headers_of_a_refusal_are_kept(app: FastAPI):
    with TestClient(app) as client:
        answer = client.get("/api/v1/limited")
    assert answer.headers["Retry-After"] == "3"
    assert answer.json() == {"ok": False, "error": "too_many_requests", "detail": "wait a little"}


def test_a_person_gets_a_page_with_what_exists(client: TestClient):
    answer = client.get("/runs/nope", headers=HTML)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "alpha" in answer.text
    assert "gated" in answer.text


def test_htmx_gets_a_fragment(client: TestClient):
    answer = client.get("/runs/nope", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert "<html" not in answer.text
    assert "alpha" in answer.text


def test_a_program_gets_json_wherever_it_asks(client: TestClient):
    answer = client.get("/runs/nope", headers={"Accept": "application/json"})
    assert answer.json()["error"] == "unknown_run"


def test_what_was_typed_is_escaped_on_the_page(client: TestClient):
    answer = client.get("/runs/<script>alert(1)<", headers=HTML)
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


def test_a_page_that_cannot_be_drawn_still_says_what_happened(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keyscope.app.web.error_pages.respond", lambda *_: 1 / 0)
    answer = client.get("/runs/nope", headers=HTML)
    assert answer.status_code == 404
    assert "there is no run 'nope'" in answer.text


def test_a_failure_is_shown_although_nobody_can_make_out_where_the_form_was(client: TestClient):
    answer = client.post("/runs/nope/jobs", headers={**HTML, "Referer": "http://["})
    assert answer.status_code == 404
    assert '<section id="error"' in answer.text


def test_a_wrong_method_is_named(client: TestClient):
    answer = client.delete("/api/v1/runs")
    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"


def test_a_body_that_is_no_json_is_refused(client: TestClient):
    answer = client.post("/api/v1/baskets", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_request"


def test_a_run_that_breaks_while_it_is_read_is_no_server_secret(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise duckdb.IOException("IO Error: the disk is gone")

    monkeypatch.setattr(queries, "layer_summaries", fail)
    answer = client.get("/api/v1/runs/alpha/layers")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the run file could not be read: IO Error: the disk is gone"


@pytest.mark.parametrize("status", [phrase.value for phrase in HTTPStatus if phrase.value >= 400])
def test_no_heading_is_a_phrase_of_the_protocol(status: int):
    assert Failure(status, "some_code", "a sentence").title != HTTPStatus(status).phrase
