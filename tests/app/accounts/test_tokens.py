import html
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from keyscope.app.accounts.credentials import digest
from keyscope.app.accounts.models import Account, ApiToken
from tests.app.accounts.office import Office

BASKET = {"masks": [{"key": "L0.K1"}]}


def make(browser: TestClient, name: str = "my script", role: str = "viewer", **more: str) -> str:
    page = browser.post("/account/tokens", data={"name": name, "role": role, **more}).text
    return html.unescape(page.split('<code class="secret">')[1].split("</code>")[0])


def call(office: Office, token: str, path: str = "/api/v1/runs") -> int:
    return office.stranger().get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_token_is_shown_once_and_lets_a_program_in(office: Office):
    browser = office.browser("Vic")
    token = make(browser)
    assert token.startswith("ks_")
    assert call(office, token) == 200
    page = browser.get("/account").text
    assert "my script" in page
    assert token not in page


def test_only_a_digest_of_a_token_is_stored(office: Office):
    token = make(office.browser("Vic"))
    with office.database.transaction() as session:
        [stored] = session.query(ApiToken).all()
    assert stored.secret_sha256 == digest(token)
    assert token not in repr(vars(stored))


def test_a_revoked_token_lets_nobody_in_not_even_with_a_session(office: Office):
    browser = office.browser("Vic")
    token = make(browser)
    with office.database.transaction() as session:
        [stored] = session.query(ApiToken).all()
    office.browser("Lea").post(f"/account/tokens/{stored.id}/revoke")
    assert call(office, token) == 200
    browser.post(f"/account/tokens/{stored.id}/revoke")
    assert call(office, token) == 401
    assert browser.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer ks_guess", "Basic QWRhOnBhc3N3b3Jk", "ks_guess"])
def test_nothing_else_is_a_token(office: Office, header: str):
    answer = office.stranger().get("/api/v1/runs", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"] == "not_signed_in"


def test_a_token_may_do_no_more_than_its_role(office: Office):
    reader, writer = office.program("Lea", "viewer"), office.program("Lea", "labeler")
    assert reader.post("/api/v1/baskets", json=BASKET).status_code == 403
    assert writer.post("/api/v1/baskets", json=BASKET).status_code == 201


def test_a_token_may_do_no_more_than_its_person_may_by_now(office: Office):
    program = office.program("Lea", "labeler")
    office.browser("Ada").post(f"/people/{office.account_id('Lea')}/role", data={"role": "viewer"})
    assert program.post("/api/v1/baskets", json=BASKET).status_code == 403
    assert program.get("/api/v1/runs").status_code == 200


def test_nobody_makes_a_token_that_may_do_more_than_they(office: Office):
    answer = office.browser("Vic").post("/account/tokens", data={"name": "more", "role": "admin"})
    assert answer.status_code == 422
    assert "Vic is a viewer, so their tokens cannot have the role admin" in answer.text
    assert "ks_" not in answer.text.replace("ks_…", "")


@pytest.mark.parametrize(
    "path", ["/account/tokens", "/account/password", "/account/sessions/end", "/people", "/sign-out"]
)
def test_a_token_manages_no_accounts(office: Office, path: str):
    answer = office.program("Ada", "admin").post(path, data={"name": "Eve", "role": "admin"})
    assert answer.status_code == 403
    assert "not with a token" in answer.text


def test_the_last_use_of_a_token_is_noted_to_a_few_minutes(office: Office):
    token = make(office.browser("Vic"))

    def used_at() -> datetime | None:
        with office.database.transaction() as session:
            return session.query(ApiToken).one().used_at

    assert used_at() is None
    call(office, token)
    first = used_at()
    assert first is not None
    assert datetime.now(UTC) - first < timedelta(minutes=1)
    call(office, token)
    assert used_at() == first


def expiry(office: Office) -> datetime | None:
    with office.database.transaction() as session:
        return session.query(ApiToken).one().expires_at


@pytest.mark.parametrize(
    ("said", "days"),
    [({}, 90), ({"lifetime": "in 30 days"}, 30), ({"lifetime": "in a year"}, 365), ({"lifetime": "never"}, None)],
)
def test_a_token_expires_when_its_person_chose_after_90_days_by_itself(
    office: Office, said: dict[str, str], days: int | None
):
    browser = office.browser("Vic")
    token = make(browser, **said)
    end = expiry(office)
    assert (end is None) is (days is None)
    if end is not None and days is not None:
        assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)
        assert f"<td>{end:%Y-%m-%d %H:%M} UTC</td>" in " ".join(browser.get("/account").text.split())
    assert call(office, token) == 200


def test_no_other_lifetime_is_taken(office: Office):
    answer = office.browser("Vic").post("/account/tokens", data={"name": "x", "lifetime": "in 900 years"})
    assert answer.status_code == 422
    assert "in 900 years" in html.unescape(answer.text)
    with office.database.transaction() as session:
        assert session.query(ApiToken).count() == 0


def test_an_expired_token_is_refused_and_told_so_and_stays_in_the_list(office: Office):
    browser = office.browser("Vic")
    token = make(browser)
    over = datetime.now(UTC) - timedelta(seconds=1)
    office.database.write(lambda session: session.execute(update(ApiToken).values(expires_at=over)))
    answer = office.stranger().get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.json()["error"] == "token_expired"
    assert answer.json()["detail"].startswith(
        f"the token 'my script' expired on {over:%Y-%m-%d}: make a new one on your account page"
    )
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert browser.get("/runs/alpha", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    page = browser.get("/account").text
    assert "<b>expired</b>" in page
    assert "revoke my script" in page


def test_an_expired_token_of_somebody_disabled_is_none(office: Office):
    program = office.program("Lea", "viewer")
    over = datetime.now(UTC) - timedelta(days=1)
    office.database.write(lambda session: session.execute(update(ApiToken).values(expires_at=over)))
    office.database.write(lambda session: session.execute(update(Account).values(disabled_at=over)))
    assert program.get("/api/v1/runs").json()["error"] == "not_signed_in"


def test_metrics_are_for_admins_and_for_programs_with_any_token(office: Office):
    assert office.program("Vic", "viewer").get("/metrics").status_code == 200
    assert office.browser("Ada").get("/metrics").status_code == 200
    assert office.browser("Lea").get("/metrics").status_code == 403
    assert office.stranger().get("/metrics").status_code == 401


def test_a_label_bears_the_name_of_the_tokens_person_whatever_a_header_says(office: Office):
    program = office.program("Lea", "labeler")
    url = "/api/v1/runs/alpha/keys/L0.K1/labels"
    answer = program.put(url, json={"kind": "syntactic"}, headers={"X-Keyscope-Person": "Ada"})
    assert answer.status_code == 200
    assert answer.json()["label"]["person"] == "Lea"


def test_a_program_may_ask_who_it_is(office: Office):
    assert office.program("Lea", "viewer").get("/api/v1/me").json() == {"ok": True, "name": "Lea", "role": "viewer"}
