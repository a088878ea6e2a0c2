"""Signing in, invitations, and managing people."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from keyscope.app.accounts import people
from keyscope.app.accounts.passwords import hash_password
from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.settings import Settings
from tests.app.accounts.provider import CLIENT, SECRET, FakeProvider
from tests.browser.conftest import TELEPHONE, Site, Visitor
from tests.fake_worker import FakeWorker
from tests.made.runs import Shape, build_run
from tests.serving import serving

PASSWORD = "correct horse battery"
REFUSED = "console: Failed to load resource: the server responded with a status of 403 (Forbidden)"
TURNED_AWAY = REFUSED.replace("403 (Forbidden)", "401 (Unauthorized)")
PAGES = ["/sign-in", "/invitation?name=Ben", "/account", "/people"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An app with sign-in by password or provider, where Ada is an admin."""
    directory = tmp_path_factory.mktemp("accounts")
    build_run(directory / "alpha.duckdb", Shape(keys=24, window=96))
    provider = FakeProvider()
    with serving(provider.app) as provider.issuer:
        settings = Settings(
            runs=directory,
            database_url=f"sqlite:///{directory}/labels.sqlite",
            accounts="accounts",
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=SECRET,
        )
        app = create_app(settings)
        with serving(app) as url:
            hashed = hash_password(PASSWORD)
            app.state.database.write(lambda session: people.add(session, "Ada", Role.ADMIN, hashed))
            yield Site(url, FakeWorker("", []), directory)


def sign_in(page: Page, name: str = "Ada", password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.keyboard.press("Enter")


def test_a_person_signs_in_comes_to_the_page_asked_for_and_signs_out(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/runs/alpha?mask=L0.K1:0")
    page = visitor.page
    expect(page).to_have_title("Sign in · Keyscope")
    sign_in(page, password="wrong")
    expect(page.get_by_role("alert")).to_contain_text("the name or the password is wrong")
    visitor.problems.remove(REFUSED)
    sign_in(page)
    page.wait_for_url("**/runs/alpha?mask=L0.K1:0")
    page.get_by_role("link", name="Ada").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ada")
    page.get_by_role("button", name="sign out", exact=True).first.click()
    expect(page).to_have_title("Sign in · Keyscope")
    page.goto(f"{visitor.site.url}/account")
    expect(page).to_have_title("Sign in · Keyscope")


def test_an_open_key_page_says_that_it_hears_nothing_more_after_signing_out_elsewhere(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("/runs/alpha/keys/L0.K1")
    page = visitor.page
    sign_in(page)
    page.wait_for_url("**/keys/L0.K1")
    expect(page.locator("#changes-said")).to_have_class("visually-hidden")
    other = page.context.new_page()
    other.goto(f"{visitor.site.url}/account")
    other.get_by_role("button", name="sign out everywhere").click()
    expect(other).to_have_title("Sign in · Keyscope")
    said = page.get_by_text("no longer updates by itself: reload it")
    expect(said).to_be_visible()
    expect(page.locator("#changes-said")).to_have_class("note")
    visitor.problems.remove(TURNED_AWAY)


@pytest.mark.parametrize("script", [True, False])
def test_an_invitation_is_accepted_by_its_link(visit: Callable[..., Visitor], script: bool) -> None:
    admin = visit("/people").page
    sign_in(admin)
    name = f"Ben {script}"
    admin.get_by_label("Name, as shown on labels").fill(name)
    admin.get_by_role("button", name="invite", exact=True).click()
    link = admin.locator("code.secret").inner_text()
    visitor = visit("/sign-in", script=script)
    page = visitor.page
    page.goto(link)
    expect(page.get_by_label("Name")).to_have_value(name)
    if script:
        assert "#" not in page.url
    else:
        page.get_by_label("Code").fill(link.partition("#")[2])
    page.get_by_label("New password").fill("another long password")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_text("You are a labeler.")).to_be_visible()


def test_an_identity_is_joined_by_way_of_the_provider_and_signs_in_from_then_on(visit: Callable[..., Visitor]) -> None:
    visitor = visit("/account")
    page = visitor.page
    sign_in(page)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="link", exact=True).click()
    onward = page.get_by_role("link", name="continue to")
    expect(onward).to_be_visible()
    assert visitor.barriers() == []
    onward.click()
    page.wait_for_url("**/account#provider")
    expect(page.locator("#provider")).to_contain_text("which knows you as u-1")
    other = visit("/account").page
    other.get_by_role("link", name="sign in with your team’s provider").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Ada")
    page.get_by_role("button", name="unlink").click()
    expect(page.get_by_role("button", name="link", exact=True)).to_be_visible()


def test_a_token_is_made_and_revoked(visit: Callable[..., Visitor]) -> None:
    page = visit("/account").page
    sign_in(page)
    page.get_by_label("Purpose").fill("nightly export")
    page.get_by_role("button", name="create token").click()
    expect(page.locator("code.secret")).to_contain_text("ks_")
    page.get_by_role("button", name="revoke nightly export").click()
    expect(page.get_by_role("rowheader", name="nightly export")).to_have_count(0)


@pytest.mark.parametrize("address", PAGES)
def test_axe_finds_no_barrier_and_a_telephone_needs_no_sideways_scrolling(
    visit: Callable[..., Visitor], address: str
) -> None:
    visitor = visit(address, width=TELEPHONE)
    page = visitor.page
    if address in ("/account", "/people"):
        sign_in(page)
        page.wait_for_url(f"**{address}")
    if address == "/account":
        page.get_by_label("Purpose").fill("nightly export of all labels into the archive")
        page.get_by_role("button", name="create token").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE
    assert visitor.barriers() == []
    visitor.turn("dark")
    assert visitor.barriers() == []
