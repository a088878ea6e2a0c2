from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from keyscope.app.accounts.exposure import check_exposure
from keyscope.app.accounts.identity import Admin, Labeler, Visitor
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web import by_word
from keyscope.serving.hosts import OpenToOthers


@pytest.fixture(scope="module")
def app(runs_dir: Path, labels_url: str) -> Iterator[FastAPI]:
    app = create_app(Settings(runs=runs_dir, database_url=labels_url))

    @app.get("/api/whoami")
    def whoami(visitor: Visitor) -> str | None:
        return f"{visitor.name}, {visitor.role}" if visitor else None

    @app.api_route("/label-something", methods=["GET", "POST"])
    def label_something(labeler: Labeler, admin: Admin) -> str:
        return labeler.name

    with TestClient(app):
        yield app


@pytest.fixture
def browser(app: FastAPI) -> TestClient:
    return TestClient(app, follow_redirects=False)


def test_a_name_is_asked_once_and_kept(browser: TestClient):
    assert browser.get("/api/whoami").json() is None
    answer = browser.post("/name", data={"name": "  Zoë  K. ", "next": "/runs/alpha"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/alpha")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert browser.get("/api/whoami").json() == "Zoë K., admin"
    assert ">Zoë K.</a>" in browser.get("/").text


def test_a_program_says_its_name_in_a_header(browser: TestClient):
    assert browser.get("/api/whoami", headers={"X-Keyscope-Person": "Ben 数".encode()}).json() == "Ben 数, admin"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_what_cannot_be_a_name_is_refused(browser: TestClient, name: str):
    assert browser.post("/name", data={"name": name}).status_code == 422
    answer = browser.get("/api/whoami", headers={"X-Keyscope-Person": name.replace("\x00", "\u0001").encode()})
    assert answer.status_code == 422


def test_a_cookie_that_cannot_be_a_name_is_none(browser: TestClient):
    browser.cookies.set(by_word.COOKIE, "%00%01", domain="testserver.local", path="/")
    assert browser.get("/api/whoami").json() is None
    assert browser.get("/").status_code == 200


def test_what_needs_a_name_asks_for_it_and_leads_back(browser: TestClient):
    answer = browser.get("/label-something?x=1", headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert 'action="/name"' in answer.text
    assert 'name="next" value="/label-something?x=1"' in answer.text
    browser.post("/name", data={"name": "Ada", "next": "/label-something?x=1"})
    assert browser.get("/label-something").json() == "Ada"


def test_a_form_that_needed_a_name_leads_back_to_its_page(browser: TestClient):
    headers = {"Referer": "http://testserver/runs/alpha/keys/L0.K1?language=go"}
    page = browser.post("/label-something", headers=headers)
    assert page.status_code == 422
    assert 'name="next" value="/runs/alpha/keys/L0.K1?language=go"' in page.text


def test_giving_a_name_never_leads_to_another_site(browser: TestClient):
    assert browser.post("/name", data={"name": "Ada", "next": "//evil.example"}).headers["location"] == "/"


def test_a_hostile_name_is_text(browser: TestClient):
    browser.post("/name", data={"name": "<script>alert(1)</script>"})
    for path in ("/", "/name", "/runs/alpha/keys/L0.K1"):
        page = browser.get(path).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page


@pytest.mark.parametrize("path", ["/sign-in", "/account", "/people", "/invitation"])
def test_there_is_nothing_to_sign_in_to(browser: TestClient, path: str):
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5", "testserver", "TESTSERVER"]
)
def test_the_machines_own_names_and_addresses_are_known(browser: TestClient, host: str):
    assert browser.get("/api/v1/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[", "", "1.2.3.4x"],
)
def test_a_site_cannot_get_in_by_pointing_its_name_here(browser: TestClient, host: str):
    for path in ("/", "/api/v1/runs", "/static/css/keyscope.css"):
        assert browser.get(path, headers={"Host": host}).status_code == 421
    answer = browser.get("/api/v1/runs", headers={"Host": host})
    assert answer.json()["error"] == "untrusted_host"
    assert "KEYSCOPE_TRUSTED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_where_nobody_signs_in_the_server_may_listen_on_this_machine(host: str):
    check_exposure(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "keyscope.example", ""])
def test_and_nowhere_else_unless_it_is_said(host: str):
    with pytest.raises(OpenToOthers, match="KEYSCOPE_ACCOUNTS=accounts"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, allow_open=True))
    check_exposure(Settings(host=host, accounts="accounts"))


FORM = {"next": "/runs/alpha", "name": "first", "keys": ["L0.K1", "L0.K2"]}


def test_a_form_without_a_name_asks_for_one_and_is_then_sent_again_as_it_was(browser: TestClient):
    asked = browser.post("/label-something?list=3", data=FORM, headers={"Accept": "text/html"})
    assert asked.status_code == 422
    assert "<h1>What is your name?</h1>" in asked.text
    assert '<form method="post" action="/label-something?list=3"' in asked.text
    for name, value in (("next", "/runs/alpha"), ("name", "first"), ("keys", "L0.K1"), ("keys", "L0.K2")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in asked.text
    assert '<input name="visitor_name"' in asked.text


def test_a_form_may_bring_its_senders_name_which_the_browser_remembers(browser: TestClient):
    assert browser.post("/label-something", data={**FORM, "visitor_name": " Ada "}).json() == "Ada"
    assert browser.get("/api/whoami").json() == "Ada, admin"
    assert "visitor_name" not in browser.get("/").text


def test_a_form_cannot_rename_who_is_known_already(browser: TestClient):
    browser.post("/name", data={"name": "Ada"})
    assert browser.post("/label-something", data={"visitor_name": "Eve"}).json() == "Ada"


def test_a_link_that_needs_a_name_is_followed_once_it_is_given(browser: TestClient):
    asked = browser.get("/label-something?list=3", headers={"Accept": "text/html"})
    assert '<form method="post" action="/name"' in asked.text
    assert '<input type="hidden" name="next" value="/label-something?list=3">' in asked.text


def test_where_people_sign_in_no_form_says_who_sent_it(accounts_settings: Settings):
    app = create_app(accounts_settings)

    @app.post("/sign-in/label-something")  # a path that strangers reach
    def label_something(labeler: Labeler) -> str:
        return labeler.name

    with TestClient(app) as client:
        answer = client.post(
            "/sign-in/label-something", data={"visitor_name": "Eve"}, headers={"Accept": "application/json"}
        )
    assert (answer.status_code, answer.json()["error"]) == (422, "name_needed")
