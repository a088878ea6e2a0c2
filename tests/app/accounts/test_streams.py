"""The stream of changes of an open page ends when its viewer loses access."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.pool import QueuePool

from keyscope.app.accounts.models import ApiToken, BrowserSession
from keyscope.app.labels.changes import KeyChanges
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from tests.app.accounts.office import PASSWORD, Office
from tests.app.listening import PATIENCE, Listener, until
from tests.serving import serving

KEY = "/runs/alpha/keys/L1.K2"
MORE_THAN_CONNECTIONS = 16
"""The database pool has at most 15 connections."""


@dataclass
class Served:
    """An office on a real server, which streams need."""

    office: Office
    url: str
    listeners: list[Listener] = field(default_factory=list)

    @property
    def watched(self) -> int:
        changes: KeyChanges = self.office.app.state.changes
        return changes.watched

    def listen(self, client: TestClient) -> Listener:
        """Open a key's stream with a browser's cookies or a program's token."""
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        said = {"Authorization": client.headers.get("authorization", ""), "Cookie": cookies}
        listener = Listener(f"{self.url}{KEY}/events", {name: text for name, text in said.items() if text})
        self.listeners.append(listener)
        before = self.watched
        listener.start()
        assert listener.opened.wait(PATIENCE)
        until(lambda: self.watched == before + 1)
        return listener


@pytest.fixture
def served(settings: Settings, cheap_hashes: None) -> Iterator[Served]:
    app = create_app(settings)
    with serving(app) as url:
        served = Served(Office(app), url)
        served.office.add_three()
        yield served
        for listener in served.listeners:
            listener.client.close()


def sign_out(office: Office, lea: TestClient) -> None:
    lea.post("/sign-out")


def sign_out_everywhere(office: Office, lea: TestClient) -> None:
    office.browser("Lea").post("/account/sessions/end")


def change_the_password_elsewhere(office: Office, lea: TestClient) -> None:
    answer = office.browser("Lea").post("/account/password", data={"old": PASSWORD, "new": "another long password"})
    assert answer.status_code == 200


def be_disabled(office: Office, lea: TestClient) -> None:
    office.browser("Ada").post(f"/people/{office.account_id('Lea')}/disable")


def lose_the_role(office: Office, lea: TestClient) -> None:
    office.browser("Ada").post(f"/people/{office.account_id('Lea')}/role", data={"role": "viewer"})


def outlast_the_session(office: Office, lea: TestClient) -> None:
    over = update(BrowserSession).values(expires_at=datetime.now(UTC))
    office.database.write(lambda session: session.execute(over))


def revoke_the_token(office: Office, lea: TestClient) -> None:
    page = office.browser("Lea")
    number = page.get("/account").context["tokens"][0].id
    page.post(f"/account/tokens/{number}/revoke")


def outlast_the_token(office: Office, lea: TestClient) -> None:
    over = update(ApiToken).values(expires_at=datetime.now(UTC))
    office.database.write(lambda session: session.execute(over))


Ending = Callable[[Office, TestClient], None]
ENDINGS_OF_SESSIONS: list[Ending] = [
    sign_out, sign_out_everywhere, change_the_password_elsewhere, be_disabled, lose_the_role, outlast_the_session
]  # fmt: skip
ENDINGS_OF_TOKENS: list[Ending] = [revoke_the_token, outlast_the_token, be_disabled, lose_the_role]


def name_of(ending: Ending) -> str:
    return ending.__name__


@pytest.mark.parametrize("end", ENDINGS_OF_SESSIONS, ids=name_of)
def test_a_browsers_stream_ends_with_its_session_or_role(served: Served, end: Ending):
    browser = served.office.browser("Lea")
    others, hers = served.listen(served.office.browser("Ada")), served.listen(browser)
    end(served.office, browser)
    until(lambda: hers.ended)
    assert hers.status == 200
    if end is not outlast_the_session:  # that one would end everybody's
        assert not others.ended
        assert served.watched == 1


@pytest.mark.parametrize("end", ENDINGS_OF_TOKENS, ids=name_of)
def test_a_programs_stream_ends_with_its_token_or_role(served: Served, end: Ending):
    program = served.office.program("Lea", "labeler")
    listener = served.listen(program)
    end(served.office, program)
    until(lambda: listener.ended)


def test_signing_out_here_ends_no_stream_elsewhere(served: Served):
    here, elsewhere = served.office.browser("Lea"), served.office.browser("Lea")
    ending, going_on = served.listen(here), served.listen(elsewhere)
    here.post("/sign-out")
    until(lambda: ending.ended)
    label = {"kind": "mixed"}
    assert served.office.program("Ada", "admin").put(f"/api/v1{KEY}/labels", json=label).status_code == 200
    until(lambda: len(going_on.events) == 2)  # the first event is the state it had not seen yet
    assert not going_on.ended


def test_a_stream_begun_with_an_ended_session_is_refused_as_to_a_program(served: Served):
    browser = served.office.browser("Lea")
    sign_out(served.office, browser)
    answer = browser.get(f"{KEY}/events", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401
    assert answer.json()["error"] == "not_signed_in"


def test_a_role_that_rises_ends_no_stream(served: Served):
    listener = served.listen(served.office.browser("Lea"))
    served.office.browser("Ada").post(f"/people/{served.office.account_id('Lea')}/role", data={"role": "admin"})
    label = {"kind": "mixed"}
    assert served.office.program("Ada", "admin").put(f"/api/v1{KEY}/labels", json=label).status_code == 200
    until(lambda: len(listener.events) == 2)
    assert not listener.ended


def test_streams_hold_no_connection_to_the_database_while_nothing_happens(served: Served):
    # Poll only once, at the beginning, to keep things quiet for as long as the test looks.
    database = served.office.database
    served.office.app.state.changes = KeyChanges(database, seconds=3600)
    browser = served.office.browser("Ada")
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    for _ in range(MORE_THAN_CONNECTIONS):
        served.listen(browser)
    until(lambda: pool.checkedout() == 0)
    assert browser.get("/account").status_code == 200
    assert pool.checkedout() == 0
    assert not any(listener.ended for listener in served.listeners)
