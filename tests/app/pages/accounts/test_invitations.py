import html
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import update

from keyscope.app.accounts.models import Invitation
from tests.app.accounts.office import PASSWORD, Office, is_signed_in, sign_in

NEW = "another long password"


def invite(office: Office, name: str, role: str = "labeler") -> str:
    page = office.browser("Ada").post("/people", data={"name": name, "role": role}).text
    return html.unescape(page.split('<code class="secret">')[1].split("</code>")[0])


def accept(office: Office, name: str, code: str, password: str = NEW) -> int:
    data = {"name": name, "code": code, "password": password}
    return office.stranger().post("/invitation", data=data).status_code


def test_who_follows_the_link_chooses_a_password_and_is_signed_in(office: Office):
    link = urlsplit(invite(office, "Zoë K."))
    assert link.path == "/invitation"
    assert unquote(link.query) == "name=Zoë K."
    browser = office.stranger()
    assert 'value="Zoë K."' in browser.get(f"{link.path}?{link.query}").text
    answer = browser.post("/invitation", data={"name": "Zoë K.", "code": link.fragment, "password": NEW})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert "You are a labeler." in browser.get("/account").text
    assert sign_in(office.stranger(), "Zoë K.", NEW).status_code == 303


def test_the_code_is_where_no_browser_sends_it(office: Office):
    link = urlsplit(invite(office, "Ben"))
    assert len(link.fragment) >= 43
    assert link.fragment not in link.path + link.query


def test_nobody_signs_in_before_the_invitation_is_accepted(office: Office):
    invite(office, "Ben")
    assert sign_in(office.stranger(), "Ben", "").status_code == 403


def test_an_invitation_works_once(office: Office):
    code = office.invite("Vic")
    assert accept(office, "Vic", code) == 303
    assert accept(office, "Vic", code, "yet another password") == 403


def test_a_later_invitation_replaces_the_earlier(office: Office):
    first, second = office.invite("Vic"), office.invite("Vic")
    assert accept(office, "Vic", first) == 403
    assert accept(office, "Vic", second) == 303


def test_an_invitation_expires(office: Office):
    code = office.invite("Vic")
    past = datetime.now(UTC) - timedelta(seconds=1)
    office.database.write(lambda session: session.execute(update(Invitation).values(expires_at=past)))
    assert accept(office, "Vic", code) == 403


@pytest.mark.parametrize("code", ["", "x", "x" * 43])
def test_a_guessed_code_is_none(office: Office, code: str):
    office.invite("Vic")
    assert accept(office, "Vic", code) == 403


def test_an_invitation_is_for_one_name_alone(office: Office):
    code = office.invite("Vic")
    assert accept(office, "Ada", code) == 403
    assert sign_in(office.stranger(), "Ada").status_code == 303
    assert accept(office, "vic", code) == 303


def test_a_password_too_short_leaves_the_invitation_open(office: Office):
    code = office.invite("Vic")
    assert accept(office, "Vic", code, "short") == 422
    assert accept(office, "Vic", code) == 303


def test_choosing_a_new_password_by_invitation_signs_out_everywhere(office: Office):
    before = office.browser("Vic")
    assert accept(office, "Vic", office.invite("Vic")) == 303
    assert not is_signed_in(before)
    assert sign_in(office.stranger(), "Vic", PASSWORD).status_code == 403


def test_who_accepts_an_invitation_in_a_browser_that_is_signed_in_stays_signed_in(office: Office):
    code = office.invite("Vic")
    browser = office.browser("Vic")
    data = {"name": "Vic", "code": code, "password": NEW}
    assert browser.post("/invitation", data=data).status_code == 303
    assert is_signed_in(browser)


def test_an_invitation_lets_no_disabled_person_in(office: Office):
    code = office.invite("Vic")
    office.browser("Ada").post(f"/people/{office.account_id('Vic')}/disable")
    assert accept(office, "Vic", code) == 403


def test_of_two_who_accept_at_the_same_moment_one_gets_on(office: Office):
    code = office.invite("Vic")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: accept(office, "Vic", code, f"{NEW} {number}"), range(8)))
    assert sorted(answers) == [303] + [403] * 7
