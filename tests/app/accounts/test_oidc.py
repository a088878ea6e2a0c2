import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy.orm import Session

from keyscope.app.accounts import people
from keyscope.app.accounts.identity import Person
from keyscope.app.accounts.oidc import Identity, ProviderIncomplete
from keyscope.app.concepts.repository import save_concept
from keyscope.app.database.engine import Database
from keyscope.app.labels import adjudication, comments, lists, repository
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.settings import Settings
from keyscope.contract.concepts import define
from keyscope.contract.keys import KeyId
from tests.app.accounts.office import Office, is_signed_in
from tests.app.accounts.provider import SECRET, FakeProvider, vouched

EVE, ADA = Person("Eve", Role.LABELER), Person("Ada", Role.ADMIN)
TARGET = Target("0" * 64, KeyId(0, 0))
CALL = define({"name": "call", "title": "call", "patterns": {"python": {"regex": "call"}}})


def fill_a_list_of_adas(session: Session) -> None:
    made = lists.make_list(session, ADA, TARGET.weights_sha256, "ours")
    lists.add_keys(session, made.id, EVE, [TARGET.key])


SPOKE: dict[str, Callable[[Session], object]] = {
    "a label": lambda session: repository.put_label(session, TARGET, EVE.name, Judgement(Kind.MIXED)),
    "a decision": lambda session: adjudication.decide(session, TARGET, EVE.name, Kind.MIXED, "", seen=0),
    "a comment": lambda session: comments.write(session, TARGET, EVE.name, "so it is"),
    "a private list": lambda session: lists.make_list(session, EVE, TARGET.weights_sha256, "my own", shared=False),
    "a key in another's list": fill_a_list_of_adas,
    "a concept": lambda session: save_concept(session, CALL, EVE.name),
}
"""Things Eve can do that leave her name in the database."""


@pytest.fixture(scope="module")
def module_settings(provider_settings: Settings) -> Settings:
    return provider_settings


def begin(browser: TestClient, onward: str = "/runs/alpha") -> str:
    """The address the browser comes back by, after the provider has signed its person in."""
    leaving = browser.get("/sign-in/provider", params={"next": onward})
    assert leaving.status_code == 303, leaving.text
    return vouched(leaving.headers["location"])


def through(browser: TestClient, onward: str = "/runs/alpha") -> Response:
    return browser.get(begin(browser, onward))


def test_who_the_provider_vouches_for_is_signed_in_and_led_back(office: Office, provider: FakeProvider):
    browser = office.stranger()
    assert "sign in with your team’s provider" in browser.get("/sign-in").text
    answer = through(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/alpha")
    page = browser.get("/account").text
    assert ">Grace H.</h1>" in page
    assert "You are a viewer." in page
    assert provider.asked[0]["redirect_uri"] == "http://testserver/sign-in/provider/return"


def test_the_second_time_it_is_the_same_account(office: Office, provider: FakeProvider):
    through(office.stranger())
    office.database.write(lambda session: people.set_role(session, people.get(session, "Grace H."), Role.LABELER))
    provider.claims["name"] = "Somebody Else"
    browser = office.stranger()
    through(browser)
    page = browser.get("/account").text
    assert ">Grace H.</h1>" in page
    assert "You are a labeler." in page


def test_a_name_at_the_provider_makes_nobody_somebody_else(office: Office, provider: FakeProvider):
    target, judgement = Target("0" * 64, KeyId(0, 0)), Judgement(Kind.MIXED)
    office.database.write(lambda session: repository.put_label(session, target, "Eve", judgement))
    for subject, name, expected in (("u-2", "ADA", "ADA 2"), ("u-3", "Eve", "Eve 2"), ("u-4", "a\x00b", "somebody 2")):
        provider.claims = {"sub": subject, "name": name}
        browser = office.stranger()
        through(browser)
        assert f">{expected}</h1>" in browser.get("/account").text


@pytest.mark.parametrize("spoke", SPOKE.values(), ids=SPOKE)
def test_nobody_comes_from_the_provider_under_the_name_of_who_has_spoken_here(
    database: Database, spoke: Callable[[Session], object]
):
    database.write(spoke)
    identity = Identity("https://id.example.com", "u-9", ("Eve", "EVE", "Ｅｖｅ"))
    made = database.write(lambda session: people.from_provider(session, identity, Role.VIEWER))
    assert made.name == "Eve 2"
    eve = database.write(lambda session: people.add(session, "Eve", Role.LABELER))
    assert eve.name == "Eve", "an admin still gives the name to whose it is"


def test_a_disabled_person_is_not_let_in_by_the_provider(office: Office):
    through(office.stranger())
    office.browser("Ada").post(f"/people/{office.account_id('Grace H.')}/disable")
    browser = office.stranger()
    assert through(browser).status_code == 403
    assert not is_signed_in(browser)


def test_a_provider_never_leads_to_another_site(office: Office):
    assert through(office.stranger(), "//evil.example").headers["location"] == "/"


def test_who_did_not_leave_from_here_does_not_come_in(office: Office):
    """A page of somebody else could otherwise sign its visitor in as that somebody."""
    coming_back = begin(office.stranger())
    for browser in (office.stranger(), office.stranger()):
        assert browser.get(coming_back).status_code == 403
        begin(browser)  # has started a sign-in here too, but not this one
        assert browser.get(coming_back).status_code == 403
        assert not is_signed_in(browser)


def test_the_state_is_compared(office: Office):
    browser = office.stranger()
    address = begin(browser)
    state = parse_qs(urlsplit(address).query)["state"][0]
    answer = browser.get(address.replace(state, "x" * len(state)))
    assert answer.status_code == 403
    assert "was not started in this browser" in answer.text


def test_a_code_stolen_on_its_way_is_of_no_use(office: Office, provider: FakeProvider):
    """The thief has another verifier than the one whose challenge the code was given for."""
    stolen = parse_qs(urlsplit(begin(office.stranger())).query)["code"][0]
    thief = office.stranger()
    address = begin(thief)
    own = parse_qs(urlsplit(address).query)["code"][0]
    answer = thief.get(address.replace(own, stolen))
    assert answer.status_code == 403
    assert "invalid_grant" in answer.text
    assert not is_signed_in(thief)


def test_a_code_works_once(office: Office):
    browser = office.stranger()
    address = begin(browser)
    cookie = browser.cookies.get("keyscope-provider")
    assert browser.get(address).status_code == 303
    again = office.stranger()
    again.cookies.set("keyscope-provider", str(cookie), domain="testserver.local", path="/sign-in/provider")
    assert again.get(address).status_code == 403


def wrong_nonce(provider: FakeProvider) -> None:
    provider.claims["nonce"] = "another sign-in's"


def wrong_issuer(provider: FakeProvider) -> None:
    provider.claims["iss"] = "https://evil.example"


def wrong_audience(provider: FakeProvider) -> None:
    provider.claims["aud"] = "another client"


def expired(provider: FakeProvider) -> None:
    provider.claims["exp"] = int(time.time()) - 300


def another_key(provider: FakeProvider) -> None:
    provider.sign_with = RSAKey.generate_key(2048, {"kid": "k1"})


def shared_secret(provider: FakeProvider) -> None:
    provider.algorithm, provider.sign_with = "HS256", OctKey.import_key(SECRET)


def unsigned(provider: FakeProvider) -> None:
    provider.algorithm, provider.sign_with = "none", OctKey.import_key("x")


def no_nonce(provider: FakeProvider) -> None:
    provider.without = {"nonce"}


def no_expiry(provider: FakeProvider) -> None:
    provider.without = {"exp"}


def no_subject(provider: FakeProvider) -> None:
    provider.without = {"sub"}


FORGERIES = [
    wrong_nonce, wrong_issuer, wrong_audience, expired, another_key, shared_secret, unsigned, no_nonce, no_expiry, no_subject
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_token_that_is_not_good_lets_nobody_in(
    office: Office, provider: FakeProvider, forge: Callable[[FakeProvider], None]
):
    forge(provider)
    browser = office.stranger()
    answer = through(browser)
    assert answer.status_code == 403
    assert "token is not valid" in answer.text
    assert not is_signed_in(browser)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"email": "grace@team.example", "email_verified": True}, 303),
        ({"email": "grace@TEAM.example", "email_verified": True}, 303),
        ({"email": "grace@team.example", "email_verified": False}, 403),
        ({"email": "grace@team.example"}, 403),
        ({"email": "grace@other.example", "email_verified": True}, 403),
        ({"email": "grace@evil.example@team.example.evil.example", "email_verified": True}, 403),
        ({}, 403),
    ],
)
def test_domains_are_those_of_confirmed_addresses(
    settings: Settings, provider: FakeProvider, claims: dict[str, object], status: int
):
    provider.claims = {"sub": "u-1", **claims}
    app = create_app(settings.model_copy(update={"oidc_domains": ["team.example"]}))
    with TestClient(app, follow_redirects=False) as browser:
        assert through(browser).status_code == status


def test_a_refusal_of_the_provider_is_told(office: Office):
    answer = office.stranger().get("/sign-in/provider/return?error=access_denied")
    assert answer.status_code == 403
    assert "access_denied" in answer.text


def test_a_provider_that_does_not_answer_is_told(office: Office, provider: FakeProvider):
    office.app.state.provider.issuer = "http://127.0.0.1:1"
    answer = office.stranger().get("/sign-in/provider")
    assert answer.status_code == 502
    assert "does not respond" in answer.text


def test_a_provider_that_calls_itself_otherwise_is_not_asked(office: Office, provider: FakeProvider):
    provider.issuer = "https://evil.example"
    assert office.stranger().get("/sign-in/provider").status_code == 502


def test_half_a_provider_is_refused_at_the_start():
    with pytest.raises(ProviderIncomplete, match="KEYSCOPE_OIDC_CLIENT_SECRET"):
        create_app(Settings(accounts="accounts", oidc_issuer="https://id.example", oidc_client_id="keyscope"))


def test_without_a_provider_there_is_none_to_sign_in_with(settings: Settings):
    app: FastAPI = create_app(settings.model_copy(update={"oidc_issuer": None}))
    with TestClient(app) as browser:
        assert "provider" not in browser.get("/sign-in").text
        assert browser.get("/sign-in/provider").status_code == 404
