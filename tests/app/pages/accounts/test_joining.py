"""Joining a provider's identity to an account: done by the person themselves, within one session."""

import html
import re
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from keyscope.app.accounts import joining, people
from keyscope.app.accounts.oidc import Flow, Identity
from keyscope.app.pages.accounts.provider import COOKIE
from keyscope.app.settings import Settings
from tests.app.accounts.office import PASSWORD, Office, is_signed_in, sign_in
from tests.app.accounts.provider import FakeProvider, vouched

JOIN, PART = "/account/provider/join", "/account/provider/part"


@pytest.fixture(scope="module")
def module_settings(provider_settings: Settings) -> Settings:
    return provider_settings


def leave(browser: TestClient, password: str = PASSWORD) -> str:
    """Ask to join; returns the provider's address that the page links to."""
    page = browser.post(JOIN, data={"password": password})
    assert page.status_code == 200, page.text
    found = re.search(r'class="button primary" href="([^"]+)"', page.text)
    assert found is not None
    return html.unescape(found[1])


def join(browser: TestClient) -> Response:
    return browser.get(vouched(leave(browser)))


def enter(office: Office) -> TestClient:
    """A new browser signed in through the provider."""
    browser = office.stranger()
    browser.get(vouched(browser.get("/sign-in/provider").headers["location"]))
    return browser


def who(browser: TestClient) -> str:
    found = re.search(r"<h1>(.+?)</h1>", browser.get("/account").text)
    assert found is not None
    return found[1]


def identity_of(office: Office, name: str) -> str | None:
    return office.database.read(lambda session: people.get(session, name).subject)


def test_a_person_joins_an_identity_signs_in_with_it_and_with_the_password_and_parts_from_it(office: Office):
    lea = office.browser("Lea")
    assert "<button>link</button>" in lea.get("/account").text
    answer = join(lea)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account#provider")
    assert "knows you as <span" in lea.get("/account").text
    assert who(enter(office)) == "Lea"
    assert "with a password or the provider" in office.browser("Ada").get("/people").text
    assert sign_in(office.stranger(), "Lea").status_code == 303
    assert lea.post(PART).status_code == 303
    assert identity_of(office, "Lea") is None
    assert who(enter(office)) == "Grace H.", "who is joined to no account has one of their own"


def test_nothing_is_joined_for_a_name_or_a_mail_address_that_is_the_same(office: Office, provider: FakeProvider):
    office.add("grace@team.example", "admin")
    provider.claims = {
        "sub": "u-9",
        "name": "grace@team.example",
        "preferred_username": "Ada",
        "email": "grace@team.example",
        "email_verified": True,
    }
    assert who(enter(office)) == "grace@team.example 2"
    assert identity_of(office, "grace@team.example") is identity_of(office, "Ada") is None


def test_a_browser_left_open_is_not_enough_to_join(office: Office, provider: FakeProvider):
    answer = office.browser("Lea").post(JOIN, data={"password": "a guess of somebody"})
    assert answer.status_code == 403
    assert "not your present password" in answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert provider.asked == []


def test_a_forged_way_back_joins_nothing(office: Office):
    """Somebody leads another person, who has signed in, to the way back of an identity of their own."""
    eve = office.browser("Vic")
    forged = vouched(leave(eve))
    victim = office.browser("Lea")
    assert victim.get(forged).status_code == 403
    leave(victim)  # has begun to join an identity, but not this one
    answer = victim.get(forged)
    assert answer.status_code == 403
    assert "was not started in this browser" in answer.text
    assert identity_of(office, "Lea") is identity_of(office, "Vic") is None


def test_a_planted_cookie_joins_nothing_for_it_is_of_another_session(office: Office):
    """A neighbouring site can put cookies into a browser: one of its own flow, or one that it makes up."""
    eve = office.browser("Vic")
    forged = vouched(leave(eve))
    planted = str(eve.cookies.get(COOKIE))
    flow = Flow.model_validate_json(urlsafe_b64decode(planted))
    made_up = joining.for_joining(flow, "").model_dump_json().encode()
    for cookie in (planted, urlsafe_b64encode(made_up).decode()):
        victim = office.browser("Lea")
        victim.cookies.set(COOKIE, cookie, domain="testserver.local", path="/sign-in/provider")
        answer = victim.get(forged)
        assert answer.status_code == 403
        assert "did not begin in this session" in answer.text
    assert identity_of(office, "Lea") is None


def test_a_flow_for_joining_signs_nobody_in_and_one_for_signing_in_joins_nothing(office: Office):
    lea = office.browser("Lea")
    way_back = vouched(leave(lea))
    elsewhere = office.stranger()
    elsewhere.cookies.set(COOKIE, str(lea.cookies.get(COOKIE)), domain="testserver.local", path="/sign-in/provider")
    assert elsewhere.get(way_back).status_code == 403
    assert not is_signed_in(elsewhere)
    lea.get(vouched(lea.get("/sign-in/provider").headers["location"]))
    assert who(lea) == "Grace H."
    assert identity_of(office, "Lea") is None


@pytest.mark.parametrize("then", ["nobody", "Ada"])
def test_what_one_person_began_is_not_joined_to_who_signs_in_next(office: Office, then: str):
    browser = office.browser("Lea")
    way_back = vouched(leave(browser))
    browser.post("/sign-out")
    if then != "nobody":
        sign_in(browser, then)
    assert browser.get(way_back).status_code == 403
    assert identity_of(office, "Lea") is identity_of(office, "Ada") is None


def test_a_way_back_with_another_state_joins_nothing(office: Office):
    lea = office.browser("Lea")
    address = vouched(leave(lea))
    state = parse_qs(urlsplit(address).query)["state"][0]
    assert lea.get(address.replace(state, "x" * len(state))).status_code == 403
    assert identity_of(office, "Lea") is None


def test_a_page_of_another_site_can_ask_for_nothing_here(office: Office):
    lea = office.browser("Lea")
    for address in (JOIN, PART):
        answer = lea.post(address, data={"password": PASSWORD}, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
        assert answer.headers.get("set-cookie") is None
    assert lea.get(JOIN).status_code == 405


def test_an_identity_joined_elsewhere_is_refused(office: Office):
    join(office.browser("Lea"))
    ada = office.browser("Ada")
    answer = join(ada)
    assert answer.status_code == 409
    assert "this identity already signs in as Lea" in answer.text
    assert (identity_of(office, "Lea"), identity_of(office, "Ada")) == ("u-1", None)


def test_an_account_of_the_provider_keeps_its_identity(office: Office):
    enter(office)
    assert join(office.browser("Ada")).status_code == 409
    assert identity_of(office, "Grace H.") == "u-1"


def test_an_account_has_one_identity(office: Office, provider: FakeProvider):
    lea = office.browser("Lea")
    way_back = vouched(leave(lea))
    join(lea)
    again = lea.post(JOIN, data={"password": PASSWORD})
    assert again.status_code == 409
    assert "remove that one first" in again.text
    other = Identity(provider.issuer, "u-2", ())
    with pytest.raises(joining.IdentityTaken, match="remove that one first"):
        office.database.write(lambda session: joining.join(session, office.account_id("Lea"), other))
    assert lea.get(way_back).status_code == 403, "the flow begun first is not this browser's any more"
    assert identity_of(office, "Lea") == "u-1"


def test_of_two_identities_joined_at_once_one_is(office: Office, provider: FakeProvider):
    first, second = (Identity(provider.issuer, subject, ()) for subject in ("u-1", "u-2"))
    lea, refused = office.account_id("Lea"), list[str]()

    def join_second() -> None:
        try:
            office.database.write(lambda session: joining.join(session, lea, second))
        except joining.IdentityTaken as error:
            refused.append(str(error))

    other = threading.Thread(target=join_second)
    with office.database.transaction() as session:
        joining.join(session, lea, first)
        other.start()
        other.join(0.5)  # long enough to finish, unless the lock makes it wait
    other.join()
    assert len(refused) == 1
    assert identity_of(office, "Lea") == "u-1"


def test_joining_what_is_joined_already_changes_nothing(office: Office, provider: FakeProvider):
    join(office.browser("Lea"))
    same = Identity(provider.issuer, "u-1", ())
    office.database.write(lambda session: joining.join(session, office.account_id("Lea"), same))
    assert identity_of(office, "Lea") == "u-1"


def test_nobody_parts_from_the_last_way_to_sign_in(office: Office):
    grace = enter(office)
    page = grace.get("/account").text
    assert "your only way to sign in" in page
    assert PART not in page
    answer = grace.post(PART)
    assert answer.status_code == 409
    assert "has no password, so nobody could sign in any more" in answer.text
    assert identity_of(office, "Grace H.") == "u-1"
    code = office.invite("Grace H.")
    grace.post("/invitation", data={"name": "Grace H.", "code": code, "password": PASSWORD})
    assert grace.post(PART).status_code == 303
    assert identity_of(office, "Grace H.") is None
    assert sign_in(office.stranger(), "Grace H.").status_code == 303


def test_a_program_joins_nothing(office: Office):
    program = office.program("Lea", "labeler")
    for address in (JOIN, PART):
        assert program.post(address, data={"password": PASSWORD}).status_code == 403


def test_an_identity_that_may_not_come_in_is_not_joined(office: Office, provider: FakeProvider):
    office.app.state.provider.domains = frozenset({"other.example"})
    answer = join(office.browser("Lea"))
    assert answer.status_code == 403
    assert "confirmed mail address in certain domains" in answer.text
    assert identity_of(office, "Lea") is None
