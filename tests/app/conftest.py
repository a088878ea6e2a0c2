import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr
from starlette.middleware.gzip import IdentityResponder
from starlette.types import Message

from keyscope.app.accounts import passwords, people
from keyscope.app.accounts.oidc import provider_of
from keyscope.app.accounts.passwords import hash_password
from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.app.settings import Settings
from tests.app.accounts.office import PASSWORD, Office
from tests.app.accounts.provider import CLIENT, SECRET, FakeProvider
from tests.app.copies import app_on_copies
from tests.fake_worker import FakeWorker
from tests.made.runs import Shape, build_run
from tests.serving import serving


def empty(url: str) -> None:
    """Delete all rows of an SQLite labels database and restart ids at 1, even while an app has it open."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'alembic_version'")
        for (name,) in tables.fetchall():
            connection.execute(f'DELETE FROM "{name}"')
        connection.commit()


@pytest.fixture(scope="session", autouse=True)
def contexts_of_pages() -> Iterator[None]:
    """Let `answer.context` of a page reach the tests: Starlette's compression drops the message that carries it."""
    compress = IdentityResponder.send_with_compression

    async def send(responder: IdentityResponder, message: Message) -> None:
        await (responder.send(message) if message["type"] == "http.response.debug" else compress(responder, message))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IdentityResponder, "send_with_compression", send)
        yield


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: alpha (2 layers of 6 keys, BOS) and gated (3 layers of 5 keys, both polarities, no BOS)."""
    directory = tmp_path_factory.mktemp("runs")
    build_run(directory / "alpha.duckdb")
    build_run(directory / "gated.duckdb", Shape(layers=3, keys=5, seed=1, gated=True, bos=False))
    return directory


@pytest.fixture(scope="session")
def weights(runs_dir: Path) -> dict[str, str]:
    """The sha256 of each run's weights."""
    registry = Registry(runs_dir)
    found = {run.run_id: run.manifest.model.weights_sha256 for run in registry.all()[0]}
    registry.close()
    return found


@pytest.fixture(scope="module")
def labels_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The labels database that a module's tests share; each test finds it empty."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('labels'))}"


@pytest.fixture(scope="module")
def module_settings(runs_dir: Path, labels_url: str) -> Settings:
    """The settings of the app that a module's tests share; override this in modules that need others."""
    return Settings(runs=runs_dir, database_url=labels_url)


@pytest.fixture
def settings(module_settings: Settings) -> Iterator[Settings]:
    """The shared app's settings, also for tests that start apps themselves; empties the database afterwards."""
    yield module_settings
    empty(module_settings.labels_url)


@pytest.fixture(scope="module")
def started(module_settings: Settings) -> Iterator[TestClient]:
    """The app that a module's tests share, because starting one and opening its runs takes longer than most tests."""
    with TestClient(create_app(module_settings)) as started:
        yield started


@pytest.fixture
def client(started: TestClient, settings: Settings) -> TestClient:
    """A new client of the shared app, with an empty database."""
    client = TestClient(started.app)
    client.portal = started.portal  # run requests in the event loop the app was started in
    return client


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real argon2 with the smallest cost it allows."""
    passwords._nobodys.cache_clear()
    monkeypatch.setattr(passwords, "_hasher", PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture(scope="module")
def serving_provider() -> Iterator[FakeProvider]:
    """The OpenID provider that a module's tests share."""
    provider = FakeProvider()
    with serving(provider.app) as url:
        provider.issuer = url
        yield provider


@pytest.fixture
def provider(serving_provider: FakeProvider) -> Iterator[FakeProvider]:
    """The shared provider, reset to its defaults."""
    made = FakeProvider(serving_provider.issuer, key=serving_provider.key)
    vars(serving_provider).update(vars(made))
    yield serving_provider
    serving_provider.issuer = made.issuer


@pytest.fixture(scope="module")
def accounts_settings(runs_dir: Path, labels_url: str) -> Settings:
    """Settings of an app with sign-in."""
    return Settings(runs=runs_dir, database_url=labels_url, accounts="accounts")


@pytest.fixture(scope="module")
def provider_settings(accounts_settings: Settings, serving_provider: FakeProvider) -> Settings:
    """Settings of an app with sign-in by password or OpenID provider."""
    own = {"oidc_issuer": serving_provider.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SecretStr(SECRET)}
    return accounts_settings.model_copy(update=own)


@pytest.fixture
def office(request: pytest.FixtureRequest, started: TestClient, settings: Settings, cheap_hashes: None) -> Office:
    """The shared app with Ada (admin), Lea (labeler) and Vic (viewer)."""
    app = started.app
    assert isinstance(app, FastAPI)
    if settings.oidc_issuer:
        request.getfixturevalue("provider")
        app.state.provider = provider_of(settings)
    office = Office(app, started.portal)
    office.add_three()
    return office


@pytest.fixture(scope="session")
def reader(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client shared by all tests that change nothing, on copies of the runs."""
    with app_on_copies(runs_dir, tmp_path_factory.mktemp("reader")) as client:
        yield client


@pytest.fixture
def worker(reader: TestClient) -> FakeWorker:
    """A fake worker with the weights of alpha; it gives the same answer to every text."""
    model = reader.app.state.registry.get("alpha").manifest.model
    return FakeWorker(model.weights_sha256, model.keys_per_layer)


@pytest.fixture
def live(settings: Settings, worker: FakeWorker) -> Iterator[TestClient]:
    """A client of an app that uses the fake worker."""
    with (
        serving(worker.app) as url,
        TestClient(create_app(settings.model_copy(update={"worker_urls": [url]}))) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], TestClient]]:
    """Make clients of an app with sign-in and without runs, where Ada is an admin."""
    directory = tmp_path_factory.mktemp("guarded")
    settings = Settings(runs=directory, database_url=f"sqlite:///{directory}/labels.sqlite", accounts="accounts")
    app = create_app(settings)
    with TestClient(app):
        hashed = hash_password(PASSWORD)
        app.state.database.write(lambda session: people.add(session, "Ada", Role.ADMIN, hashed))
        yield lambda: TestClient(app)


@pytest.fixture
def stranger(guarded: Callable[[], TestClient]) -> TestClient:
    """A client that has not signed in."""
    return guarded()


@pytest.fixture
def admin(guarded: Callable[[], TestClient]) -> TestClient:
    """A client signed in as Ada."""
    client = guarded()
    answer = client.post("/sign-in", data={"name": "Ada", "password": PASSWORD})
    assert answer.url.path == "/"
    return client


@pytest.fixture(scope="session")
def registry(runs_dir: Path) -> Iterator[Registry]:
    """The runs, opened once: nothing changes them."""
    registry = Registry(runs_dir)
    yield registry
    registry.close()


@pytest.fixture
def alpha(registry: Registry) -> Run:
    return registry.get("alpha")


@pytest.fixture
def gated(registry: Registry) -> Run:
    return registry.get("gated")
