import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from keyscope.app.accounts import devices, passwords, people, throttle
from keyscope.app.accounts.credentials import digest
from keyscope.app.accounts.models import Account, BrowserSession
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web import admission
from tests.app.accounts.office import PASSWORD, Office, is_signed_in, sign_in


def cookie(browser: TestClient) -> str | None:
    return browser.cookies.get(admission.COOKIE)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hashes that passwords were compared with."""
    seen: list[str] = []
    verify = passwords._hasher.current_hasher.verify

    def counted(password: str, hash: str) -> bool:
        seen.append(hash)
        return verify(password, hash)

    passwords._nobodys()
    monkeypatch.setattr(passwords._hasher.current_hasher, "verify", counted)
    return seen


def test_the_right_password_signs_in_and_leads_back(office: Office):
    browser = office.stranger()
    answer = browser.get("/runs/alpha?mask=L0.K1:0")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fruns%2Falpha%3Fmask%3DL0.K1%3A0"
    form = browser.get(answer.headers["location"]).text
    assert 'name="next" value="/runs/alpha?mask=L0.K1:0"' in form
    answer = sign_in(browser, "Ada", next="/runs/alpha?mask=L0.K1:0")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/alpha?mask=L0.K1:0")
    page = browser.get("/runs/alpha")
    assert page.status_code == 200
    assert ">Ada</a>" in page.text


def test_a_name_may_be_written_in_any_case(office: Office):
    assert sign_in(office.stranger(), "  aDA ").status_code == 303


@pytest.mark.parametrize(("name", "password"), [("Ada", "a guess"), ("Nobody", PASSWORD), ("", ""), ("Ada", "")])
def test_everything_else_does_not_and_does_not_say_what_is_wrong(office: Office, name: str, password: str):
    browser = office.stranger()
    answer = sign_in(browser, name, password)
    assert answer.status_code == 403
    assert "the name or the password is wrong" in answer.text
    assert password == "" or password not in answer.text
    assert cookie(browser) is None


@pytest.mark.parametrize("name", ["Ada", "Nobody", "Invited", "Disabled"])
def test_one_hash_is_compared_whoever_is_named(office: Office, hashes: list[str], name: str):
    office.add("Disabled", "viewer")
    office.browser("Ada").post(f"/people/{office.account_id('Disabled')}/disable")
    office.browser("Ada").post("/people", data={"name": "Invited", "role": "viewer"})
    hashes.clear()
    assert sign_in(office.stranger(), name, "wrong password").status_code == 403
    assert len(hashes) == 1


def test_a_session_is_in_a_cookie_that_no_script_and_no_other_site_gets(office: Office):
    header = sign_in(office.stranger(), "Ada").headers["set-cookie"].lower()
    assert "httponly" in header
    assert "samesite=lax" in header
    assert "path=/;" in header
    assert "secure" not in header


def test_over_https_the_cookie_is_never_sent_in_clear(settings: Settings, office: Office):
    trusting = settings.model_copy(update={"trusted_proxies": ["testclient"], "root_path": "/keys"})
    with TestClient(create_app(trusting), follow_redirects=False) as client:
        data = {"name": "Ada", "password": PASSWORD}
        answer = client.post("/sign-in", data=data, headers={"X-Forwarded-Proto": "https"})
    header = answer.headers["set-cookie"].lower()
    assert "secure" in header
    assert "path=/keys;" in header


def test_only_a_digest_of_the_cookie_is_stored(office: Office):
    browser = office.stranger()
    sign_in(browser, "Ada")
    secret = cookie(browser)
    assert secret is not None
    with office.database.transaction() as session:
        [stored] = session.query(BrowserSession).all()
    assert stored.secret_sha256 == digest(secret)
    assert secret not in repr(vars(stored))


def test_a_session_from_before_signing_in_is_not_taken_over(office: Office):
    browser = office.stranger()
    browser.cookies.set(admission.COOKIE, "chosen-by-somebody-else", domain="testserver.local", path="/")
    answer = sign_in(browser, "Ada")
    assert "chosen-by-somebody-else" not in answer.headers["set-cookie"]
    planted = office.stranger()
    planted.cookies.set(admission.COOKIE, "chosen-by-somebody-else", domain="testserver.local", path="/")
    assert not is_signed_in(planted)


def test_signing_in_again_begins_a_new_session_and_ends_the_old(office: Office):
    browser = office.stranger()
    sign_in(browser, "Vic")
    before = cookie(browser)
    sign_in(browser, "Ada")
    assert cookie(browser) != before
    old = office.stranger()
    old.cookies.set(admission.COOKIE, str(before), domain="testserver.local", path="/")
    assert not is_signed_in(old)
    assert ">Ada</h1>" in browser.get("/account").text


def test_signing_out_ends_the_session_on_the_server_too(office: Office):
    browser = office.browser("Vic")
    secret = cookie(browser)
    assert is_signed_in(browser)
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    kept = office.stranger()
    kept.cookies.set(admission.COOKIE, str(secret), domain="testserver.local", path="/")
    assert not is_signed_in(kept)


def test_signing_out_everywhere_ends_all_sessions_of_the_person_alone(office: Office):
    one, two, other = office.browser("Vic"), office.browser("Vic"), office.browser("Lea")
    one.post("/account/sessions/end")
    assert not is_signed_in(one)
    assert not is_signed_in(two)
    assert is_signed_in(other)


def test_one_session_can_be_ended_but_nobody_elses(office: Office):
    one, two, other = office.browser("Vic"), office.browser("Vic"), office.browser("Lea")
    with office.database.transaction() as session:
        _, second, of_lea = [each.id for each in session.query(BrowserSession).order_by(BrowserSession.id)]
    one.post(f"/account/sessions/{second}/end")
    one.post(f"/account/sessions/{of_lea}/end")
    assert is_signed_in(one)
    assert not is_signed_in(two)
    assert is_signed_in(other)


def test_a_session_ends_by_itself(office: Office):
    browser = office.browser("Vic")
    past = datetime.now(UTC) - timedelta(seconds=1)
    office.database.write(lambda session: session.execute(update(BrowserSession).values(expires_at=past)))
    assert not is_signed_in(browser)


def test_the_last_use_of_a_session_is_noted_to_a_few_minutes(office: Office):
    browser = office.browser("Vic")
    long_ago = datetime.now(UTC) - timedelta(hours=3)

    def seen_at() -> datetime:
        with office.database.transaction() as session:
            return session.query(BrowserSession).one().seen_at

    first = seen_at()
    browser.get("/account")
    assert seen_at() == first
    office.database.write(lambda session: session.execute(update(BrowserSession).values(seen_at=long_ago)))
    browser.get("/account")
    assert seen_at() > long_ago + timedelta(hours=2)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "https:evil.example",
        "/a\x00b",
        "/a\r\nb",
        "",
    ],
)
def test_signing_in_never_leads_to_another_site(office: Office, elsewhere: str):
    assert sign_in(office.stranger(), "Ada", next=elsewhere).headers["location"] == "/"
    browser = office.browser("Ada")
    assert browser.get("/sign-in", params={"next": elsewhere}).headers["location"] == "/"
    assert 'name="next" value="/"' in office.stranger().get("/sign-in", params={"next": elsewhere}).text


def test_another_site_cannot_sign_somebody_in_or_out(office: Office):
    hostile = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    browser = office.stranger()
    answer = browser.post("/sign-in", data={"name": "Ada", "password": PASSWORD}, headers=hostile)
    assert answer.status_code == 403
    assert cookie(browser) is None
    signed_in = office.browser("Ada")
    for path in ("/sign-out", "/account/sessions/end", "/account/password", "/account/tokens", "/people"):
        assert signed_in.post(path, headers=hostile).status_code == 403
    assert is_signed_in(signed_in)


def test_a_program_is_told_by_json_and_a_browser_led_to_the_form(office: Office):
    stranger = office.stranger()
    answer = stranger.get("/api/v1/runs")
    assert answer.status_code == 401
    assert answer.json() == {
        "ok": False,
        "error": "not_signed_in",
        "detail": "sign in first; programs send a token as `Authorization: Bearer ks_…`",
    }
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert stranger.get("/openapi.json").status_code == 401
    assert stranger.get("/no/such/page").headers["location"].startswith("/sign-in")
    assert stranger.post("/runs/alpha/keys/L0.K1/label").headers["location"] == "/sign-in"


def test_a_part_of_a_page_is_not_replaced_by_the_form(office: Office):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/runs/alpha?mask=L0.K1:0"}
    answer = office.stranger().get("/runs/alpha/layers/0", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["HX-Redirect"] == "/sign-in?next=%2Fruns%2Falpha%3Fmask%3DL0.K1%3A0"
    assert answer.text == ""
    headers["HX-Current-URL"] = "http://["
    assert office.stranger().get("/runs/alpha/layers/0", headers=headers).headers["HX-Redirect"] == "/sign-in"


def test_nobody_is_admitted_while_the_database_does_not_answer(office: Office, monkeypatch: pytest.MonkeyPatch):
    browser = office.browser("Ada")
    office.database.close()
    monkeypatch.setattr(office.database, "engine", create_app(Settings(database_url=GONE)).state.database.engine)
    answer = browser.get("/api/v1/runs")
    assert answer.status_code == 503
    assert answer.json()["error"] == "database_unavailable"


GONE = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"


def test_answers_are_kept_by_no_shared_cache(office: Office):
    browser = office.browser("Ada")
    assert browser.get("/runs/alpha").headers["Cache-Control"] == "private, no-cache"
    assert browser.get("/account").headers["Cache-Control"] == "no-store"


@dataclass
class Clock:
    """Time that passes only where a test says so: tries are counted against it, however long they take."""

    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throttle, "time", clock)
    return clock


def test_too_many_tries_under_a_name_have_to_wait(office: Office, hashes: list[str], clock: Clock):
    for _ in range(throttle.PER_NAME_AND_ADDRESS.burst):
        assert sign_in(office.stranger(), "Ada", "wrong").status_code == 403
    compared = len(hashes)
    answer = sign_in(office.stranger(), "ADA")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= throttle.PER_NAME_AND_ADDRESS.seconds
    assert "too many attempts" in answer.text
    assert len(hashes) == compared
    assert sign_in(office.stranger(), "Lea").status_code == 303


def test_names_that_nobody_has_are_limited_too(office: Office, clock: Clock):
    answers = [
        sign_in(office.stranger(), "Nobody", "x").status_code for _ in range(throttle.PER_NAME_AND_ADDRESS.burst + 1)
    ]
    assert answers == [403] * throttle.PER_NAME_AND_ADDRESS.burst + [429]


def test_too_many_tries_from_an_address_have_to_wait_whatever_the_name(office: Office, clock: Clock):
    answers = [
        sign_in(office.stranger(), f"name {number}", "x").status_code
        for number in range(throttle.PER_ADDRESS.burst + 1)
    ]
    assert answers == [403] * throttle.PER_ADDRESS.burst + [429]
    assert sign_in(office.stranger(), "Ada").status_code == 429


def test_waiting_helps_and_refused_tries_cost_nothing(office: Office, clock: Clock):
    for _ in range(throttle.PER_NAME_AND_ADDRESS.burst + 5):
        sign_in(office.stranger(), "Ada", "wrong")
    clock.now += throttle.PER_NAME_AND_ADDRESS.seconds
    assert sign_in(office.stranger(), "Ada").status_code == 303


def at(office: Office, address: str) -> TestClient:
    """A browser that has not signed in, at some address."""
    browser = TestClient(office.app, follow_redirects=False, client=(address, 50000))
    browser.portal = office.portal
    return browser


def test_wrong_tries_from_elsewhere_do_not_keep_a_person_out(office: Office, clock: Clock):
    for number in range(2 * throttle.PER_NAME_AND_ADDRESS.burst):
        assert sign_in(at(office, f"192.0.2.{number}"), "Ada", "wrong").status_code == 403
    assert sign_in(at(office, "198.51.100.1"), "Ada").status_code == 303


def test_a_browser_that_signed_in_before_gets_in_however_hard_others_try(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(throttle, "PER_NAME", throttle.Pace(burst=5, seconds=30))
    monkeypatch.setattr(throttle, "PER_ADDRESS", throttle.Pace(burst=5, seconds=20))
    known = office.stranger()
    assert sign_in(known, "Ada").status_code == 303
    known.post("/sign-out")
    for number in range(throttle.PER_NAME.burst):
        sign_in(at(office, f"192.0.2.{number}"), "Ada", "wrong")
        sign_in(office.stranger(), f"name {number}", "wrong")
    assert sign_in(at(office, "198.51.100.1"), "Ada").status_code == 429
    assert sign_in(known, "Lea").status_code == 429
    assert sign_in(known, "Ada").status_code == 303


def test_a_browser_that_signed_in_before_may_not_guess_for_ever(office: Office, clock: Clock):
    known = office.stranger()
    sign_in(known, "Ada")
    answers = [sign_in(known, "Ada", "wrong").status_code for _ in range(throttle.PER_DEVICE.burst + 1)]
    assert answers == [403] * throttle.PER_DEVICE.burst + [429]
    clock.now += throttle.PER_DEVICE.seconds
    assert sign_in(known, "Ada").status_code == 303


def test_a_mark_is_good_for_its_account_until_the_password_changes(office: Office):
    def account(name: str) -> Account:
        return office.database.read(lambda session: people.get(session, name))

    mark = devices.new_mark(account("Ada"))
    assert devices.known_device(account("Ada"), mark) == mark.partition(".")[0]
    for wrong in ("", ".", "x", mark[1:], mark[:-1], mark + "ü"):
        assert devices.known_device(account("Ada"), wrong) is None
    assert devices.known_device(account("Lea"), mark) is None
    assert devices.known_device(None, mark) is None
    browser = office.browser("Ada")
    browser.post("/account/password", data={"old": PASSWORD, "new": "another long password"})
    assert devices.known_device(account("Ada"), mark) is None
    assert devices.known_device(account("Ada"), browser.cookies[admission.DEVICE_COOKIE]) is not None


def test_more_passwords_than_can_be_checked_are_refused_but_not_those_of_known_browsers(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    known = office.stranger()
    sign_in(known, "Ada")
    monkeypatch.setattr(passwords, "_STRANGERS", threading.BoundedSemaphore(1))
    with passwords._among_strangers():
        passwords._AT_ONCE.release()  # as if it were no longer checked, so that others can be
        try:
            refused = sign_in(office.stranger(), "Ada")
            assert sign_in(known, "Ada").status_code == 303
        finally:
            passwords._AT_ONCE.acquire()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, str(passwords.RETRY_SECONDS))
    assert sign_in(office.stranger(), "Ada").status_code == 303


def test_signing_in_forgets_the_wrong_tries_under_the_name(office: Office):
    for _ in range(2):
        for _ in range(throttle.PER_NAME_AND_ADDRESS.burst - 1):
            sign_in(office.stranger(), "Ada", "wrong")
        assert sign_in(office.stranger(), "Ada").status_code == 303


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("testclient", "testclient", True),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(one: str, other: str, same: bool):
    assert (throttle._of_address(one) == throttle._of_address(other)) is same


def test_a_password_is_changed_by_who_knows_the_old_one(office: Office):
    browser, elsewhere = office.browser("Vic"), office.browser("Vic")
    wrong = browser.post("/account/password", data={"old": "wrong", "new": "another long password"})
    assert wrong.status_code == 403
    assert "not your present password" in wrong.text
    short = browser.post("/account/password", data={"old": PASSWORD, "new": "short"})
    assert short.status_code == 422
    assert "12 to 500 characters" in short.text
    assert is_signed_in(elsewhere)
    assert browser.post("/account/password", data={"old": PASSWORD, "new": "another long password"}).status_code == 200
    assert is_signed_in(browser)
    assert not is_signed_in(elsewhere)
    assert sign_in(office.stranger(), "Vic").status_code == 403
    assert sign_in(office.stranger(), "Vic", "another long password").status_code == 303


def test_passwords_tokens_and_codes_are_in_no_log(office: Office, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    browser = office.stranger()
    sign_in(browser, "Ada", "a wrong password")
    sign_in(browser, "Ada")
    shown = browser.post("/account/tokens", data={"name": "script", "role": "viewer"}).text
    token = shown.split('<code class="secret">')[1].split("</code>")[0]
    program = office.stranger()
    assert program.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert program.get("/api/v1/runs", headers={"Authorization": "Bearer ks_wrong"}).status_code == 401
    code = office.invite("Vic")
    browser.post("/invitation", data={"name": "Vic", "code": code, "password": "another long password"})
    logged = caplog.text
    secrets = [PASSWORD, "a wrong password", token, "ks_wrong", code, "another long password", str(cookie(browser))]
    assert logged
    assert [secret for secret in secrets if secret in logged] == []


def test_tries_at_the_same_moment_are_all_counted(office: Office, clock: Clock):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: sign_in(office.stranger(), "Ada", "wrong").status_code, range(24)))
    assert answers.count(403) == throttle.PER_NAME_AND_ADDRESS.burst
    assert answers.count(429) == 24 - throttle.PER_NAME_AND_ADDRESS.burst
