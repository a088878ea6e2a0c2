import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from keyscope.app.accounts import people
from keyscope.app.accounts.models import Account
from keyscope.app.accounts.names import folded
from keyscope.app.accounts.people import LastAdmin
from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.settings import Settings
from tests.app.accounts.office import Office, is_signed_in, sign_in

HOSTILE = '<script>alert("x")</script>'


def role_of(office: Office, name: str) -> Role:
    return office.database.read(lambda session: people.get(session, name).role)


def test_each_role_may_do_what_the_ones_before_it_may():
    assert [[one.may(other) for other in Role] for one in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_an_admin_sees_and_changes_roles_and_they_hold_at_once(office: Office):
    admin, vic = office.browser("Ada"), office.browser("Vic")
    page = admin.get("/people").text
    assert [name in page for name in ("Ada", "Lea", "Vic")] == [True] * 3
    assert vic.post("/api/v1/baskets", json={"masks": [{"key": "L0.K1"}]}).status_code == 403
    assert admin.post(f"/people/{office.account_id('Vic')}/role", data={"role": "labeler"}).status_code == 303
    assert vic.post("/api/v1/baskets", json={"masks": [{"key": "L0.K1"}]}).status_code == 201


def test_a_disabled_person_is_out_at_once_and_may_be_let_in_again(office: Office):
    admin, vic, program = office.browser("Ada"), office.browser("Vic"), office.program("Vic", "viewer")
    number = office.account_id("Vic")
    admin.post(f"/people/{number}/disable")
    assert not is_signed_in(vic)
    assert program.get("/api/v1/runs").status_code == 401
    assert sign_in(office.stranger(), "Vic").status_code == 403
    admin.post(f"/people/{number}/enable")
    assert sign_in(office.stranger(), "Vic").status_code == 303
    assert program.get("/api/v1/runs").status_code == 401


@pytest.mark.parametrize(("action", "data"), [("disable", {}), ("role", {"role": "viewer"})])
def test_the_last_admin_stays_one(office: Office, action: str, data: dict[str, str]):
    admin, number = office.browser("Ada"), office.account_id("Ada")
    answer = admin.post(f"/people/{number}/{action}", data=data)
    assert answer.status_code == 409
    assert "Ada is the only admin" in answer.text
    office.add("Eve", "admin")
    assert admin.post(f"/people/{number}/{action}", data=data).status_code == 303


def test_a_disabled_admin_does_not_count(office: Office):
    office.add("Eve", "admin")
    admin = office.browser("Ada")
    admin.post(f"/people/{office.account_id('Eve')}/disable")
    assert admin.post(f"/people/{office.account_id('Ada')}/disable").status_code == 409


def demote(session: Session, account: Account) -> None:
    people.set_role(session, account, Role.VIEWER)


@pytest.mark.parametrize("take_away", [demote, people.disable])
def test_of_two_admins_who_take_each_others_role_at_once_one_stays(
    office: Office, take_away: Callable[[Session, Account], None]
):
    office.add("Eve", "admin")
    refused: list[str] = []

    def eve_acts() -> None:
        try:
            office.database.write(lambda session: take_away(session, people.get(session, "Ada")))
        except LastAdmin as error:
            refused.append(str(error))

    eve = threading.Thread(target=eve_acts)
    with office.database.transaction() as session:
        take_away(session, people.get(session, "Eve"))
        eve.start()
        eve.join(0.5)  # long enough to finish, unless the lock makes her wait
    eve.join()
    assert refused == ["Ada is the only admin: make somebody else an admin first"]


@pytest.mark.parametrize("name", ["ada", " ADA ", "Ａｄａ", "A\u0064a"])
def test_nobody_gets_a_name_that_looks_like_anothers(office: Office, name: str):
    answer = office.browser("Ada").post("/people", data={"name": name, "role": "viewer"})
    assert answer.status_code == 409
    assert "there is already an account &#39;Ada&#39;" in answer.text


@pytest.mark.parametrize("name", ["\u0410da", "Ad\u0430", "\u0391d\u03b1", "\u0430\u0501\u0430"])
def test_nor_one_that_mixes_alphabets_to_look_like_it(office: Office, name: str):
    answer = office.browser("Ada").post("/people", data={"name": name, "role": "viewer"})
    assert answer.status_code == 409
    assert "looks like &#39;Ada&#39;: choose another name" in answer.text


@pytest.mark.parametrize("name", ["Анна", "Αλέξανδρος", "Adam", "Ida"])
def test_names_in_any_alphabet_are_welcome(office: Office, name: str):
    assert office.browser("Ada").post("/people", data={"name": name, "role": "viewer"}).status_code in (200, 303)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\u202eb", "a\x00b", "\ufdfa" * 40])
def test_a_name_has_to_be_one(office: Office, name: str):
    assert office.browser("Ada").post("/people", data={"name": name, "role": "viewer"}).status_code == 422


def test_folding_again_changes_nothing():
    for name in ("ﬀ", "ẞ", "İ", "Ａda", "\u1e9e x", "ᾳ"):
        assert folded(folded(name)) == folded(name)


def test_a_hostile_name_is_text_on_every_page(office: Office):
    office.add(HOSTILE, "admin")
    browser = office.browser(HOSTILE)
    browser.post("/account/tokens", data={"name": HOSTILE, "role": "viewer"})
    signed_in = [browser.get(path) for path in ("/", "/account", "/people", "/runs/alpha", "/runs/alpha/keys/L0.K1")]
    stranger = [
        sign_in(office.stranger(), HOSTILE, HOSTILE, next=f"/{HOSTILE}"),
        office.stranger().get("/invitation", params={"name": HOSTILE}),
        office.stranger().post("/invitation", data={"name": HOSTILE, "code": HOSTILE, "password": "x"}),
        browser.post(f"/people/{office.account_id(HOSTILE)}/invitation"),
        browser.post("/people", data={"name": HOSTILE, "role": "viewer"}),
    ]
    for answer in signed_in + stranger:
        assert "<script>alert" not in answer.text
    for answer in signed_in:
        assert "&lt;script&gt;alert" in answer.text


def test_a_hostile_browser_is_text_too(office: Office):
    browser = office.stranger()
    browser.headers["User-Agent"] = HOSTILE
    sign_in(browser, "Vic")
    page = browser.get("/account").text
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page


def test_an_unknown_person_is_named(office: Office):
    answer = office.browser("Ada").post("/people/9999/disable")
    assert answer.status_code == 404
    assert "there is no account 9999" in answer.text


def test_a_server_nobody_can_sign_in_to_says_how_to_begin(settings: Settings, caplog: pytest.LogCaptureFixture):
    with TestClient(create_app(settings)):
        assert "keyscope users add NAME --role admin" in caplog.text
