"""An app with sign-in, and browsers and programs of its people."""

from dataclasses import dataclass

from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from keyscope.app.accounts import invitations, people, sessions, tokens
from keyscope.app.accounts.passwords import hash_password
from keyscope.app.database.engine import Database
from keyscope.app.roles import Role
from keyscope.app.web import admission

PASSWORD = "correct horse battery"


@dataclass
class Office:
    app: FastAPI
    portal: BlockingPortal | None = None
    """The event loop the app was started in."""

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database

    def add(self, name: str, role: str) -> None:
        hashed = hash_password(PASSWORD)
        self.database.write(lambda session: people.add(session, name, Role(role), hashed))

    def add_three(self) -> None:
        """Add Ada (admin), Lea (labeler) and Vic (viewer)."""
        for name, role in (("Ada", "admin"), ("Lea", "labeler"), ("Vic", "viewer")):
            self.add(name, role)

    def account_id(self, name: str) -> int:
        return self.database.read(lambda session: people.get(session, name).id)

    def stranger(self) -> TestClient:
        """A browser that has not signed in."""
        client = TestClient(self.app, follow_redirects=False)
        client.portal = self.portal
        return client

    def browser(self, name: str) -> TestClient:
        """A browser signed in as a person, without going through the form."""
        account_id = self.account_id(name)
        secret = self.database.write(lambda session: sessions.begin(session, account_id, "test"))
        browser = self.stranger()
        browser.cookies.set(admission.COOKIE, secret, domain="testserver.local", path="/")
        return browser

    def program(self, name: str, role: str) -> TestClient:
        """A program with one of a person's tokens."""
        account_id = self.account_id(name)
        token = self.database.write(
            lambda session: tokens.create(session, people.by_id(session, account_id), "a program", Role(role))
        )
        program = self.stranger()
        program.headers["Authorization"] = f"Bearer {token}"
        return program

    def invite(self, name: str) -> str:
        """Invite a person; returns the code."""
        return self.database.write(lambda session: invitations.invite(session, people.get(session, name)))


def sign_in(browser: TestClient, name: str, password: str = PASSWORD, **more: str) -> Response:
    return browser.post("/sign-in", data={"name": name, "password": password, **more})


def is_signed_in(browser: TestClient) -> bool:
    return browser.get("/account").status_code == 200
