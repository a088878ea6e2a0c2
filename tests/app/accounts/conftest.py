from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from keyscope.app.accounts import passwords
from keyscope.app.accounts.oidc import provider_of
from keyscope.app.settings import Settings
from tests.app.accounts.office import Office
from tests.app.accounts.provider import FakeProvider
from tests.serving import serving


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """argon2 as it is, but with as little work as it allows."""
    passwords._nobodys.cache_clear()
    monkeypatch.setattr(passwords, "_hasher", PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture(scope="module")
def serving_provider() -> Iterator[FakeProvider]:
    """A provider at an address that the tests of one module share."""
    provider = FakeProvider()
    with serving(provider.app) as url:
        provider.issuer = url
        yield provider


@pytest.fixture
def provider(serving_provider: FakeProvider) -> Iterator[FakeProvider]:
    """The shared provider as it was made, whatever a test before changed of it."""
    made = FakeProvider(serving_provider.issuer, key=serving_provider.key)
    vars(serving_provider).update(vars(made))
    yield serving_provider
    serving_provider.issuer = made.issuer


@pytest.fixture(scope="module")
def module_settings(runs_dir: Path, labels_url: str) -> Settings:
    """Where people sign in."""
    return Settings(runs=runs_dir, database_url=labels_url, accounts="accounts")


@pytest.fixture
def office(request: pytest.FixtureRequest, started: TestClient, settings: Settings) -> Office:
    """A server with Ada (admin), Lea (labeler) and Vic (viewer)."""
    app = started.app
    assert isinstance(app, FastAPI)
    if settings.oidc_issuer:
        request.getfixturevalue("provider")
        app.state.provider = provider_of(settings)
    office = Office(app, started.portal)
    office.add_three()
    return office
