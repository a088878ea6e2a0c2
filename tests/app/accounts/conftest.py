from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from keyscope.app.accounts import passwords
from keyscope.app.main import create_app
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


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    provider = FakeProvider()
    with serving(provider.app) as url:
        provider.issuer = url
        yield provider


@pytest.fixture
def settings(runs_dir: Path, database_url: str) -> Settings:
    """Every test of this room runs on both kinds of database, where people sign in."""
    return Settings(runs=runs_dir, database_url=database_url, accounts="accounts")


@pytest.fixture
def office(settings: Settings) -> Iterator[Office]:
    """A server with Ada (admin), Lea (labeler) and Vic (viewer)."""
    app = create_app(settings)
    with TestClient(app):
        office = Office(app)
        for name, role in (("Ada", "admin"), ("Lea", "labeler"), ("Vic", "viewer")):
            office.add(name, role)
        yield office
