"""What compose starts, started without a container engine: PostgreSQL, the migration, a worker, and two servers behind
one address. Commands and environment are those of the compose file and the images."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.listening import Listener, until
from tests.deploy.compose import ROOT, started
from tests.deploy.round_robin import round_robin
from tests.postgres import Server
from tests.processes import answers, free_port, wait_until
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus

PASSWORD = "correct horse battery"
LABEL = {"kind": "syntactic", "description": "ends a line", "confidence": 0.5, "tags": [], "evidence": []}
DATABASE = "topology"


@dataclass
class Topology:
    """The services of compose on this machine."""

    folder: Path
    given: dict[str, str]
    worker_port: int = field(default_factory=free_port)
    app_ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    run: str = ""
    url: str = ""
    """The one address of both servers."""

    def start(self, name: str, port: int | None = None, *words: str) -> subprocess.Popen[bytes]:
        """Start a service, or another command in its container, as compose would; its log is `NAME-PORT.log`."""
        service = started(name, self.given)
        prefix = "KEYSCOPE_WORKER" if name == "worker" else "KEYSCOPE"
        environment = {variable: self.here(value) for variable, value in service.environment.items()}
        environment |= {f"{prefix}_HOST": "127.0.0.1"} | ({f"{prefix}_PORT": str(port)} if port else {})
        mine = {name: value for name, value in os.environ.items() if not name.startswith("KEYSCOPE_")}
        command = list(words) or service.command
        assert command[0] == "keyscope"
        with (self.folder / f"{name}-{port}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=mine | environment | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE if words else log,
                stderr=log,
            )
        if port:
            self.running[f"{name}-{port}"] = process
        return process

    def here(self, value: str) -> str:
        """A value with the containers' volumes and names replaced by what stands for them on this machine."""
        for there, here in {
            "/data/": f"{self.folder}/",
            "/models/codegen-nano": str(self.folder / "model"),
            "//worker:8001": f"//127.0.0.1:{self.worker_port}",
        }.items():
            value = value.replace(there, here)
        return value

    def wait_for(self, name: str) -> None:
        """Wait until a server answers."""
        process, port = self.running[name], name.rpartition("-")[2]
        url = f"http://127.0.0.1:{port}/healthz"
        assert wait_until(lambda: process.poll() is not None or answers(url), 180), self.log(name)
        assert process.poll() is None, self.log(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def app(self, which: int) -> str:
        return f"http://127.0.0.1:{self.app_ports[which]}"


@pytest.fixture(scope="module")
def topology(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    folder = tmp_path_factory.mktemp("topology")
    model, corpus = save_tiny(folder / "model", "codegen"), write_corpus(folder / "corpus", files=2)
    postgres.create(DATABASE)
    given = {
        "KEYSCOPE_WORKER_TOKEN": "s3cret",
        "KEYSCOPE_DATABASE_URL": postgres.url(DATABASE),
        "KEYSCOPE_LOG_FORMAT": "json",
    }
    made = Topology(folder, given)
    made.run = run(model, corpus, folder / "runs").stem
    try:
        assert made.start("migrate").wait(timeout=120) == 0, made.log("migrate-None")
        made.start("worker", made.worker_port)
        for port in made.app_ports:
            made.start("app", port)
        for name in made.running:
            made.wait_for(name)
        with round_robin(made.app_ports) as port:
            made.url = f"http://127.0.0.1:{port}"
            yield made
    finally:
        for process in made.running.values():
            process.terminate()
        for process in made.running.values():
            process.wait(timeout=60)
        postgres.drop(DATABASE)


def browser(url: str) -> httpx.Client:
    """A browser that opens a connection for every request, so that both servers get some of them."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, timeout=60, trust_env=False, limits=limits, follow_redirects=True)


def invited(topology: Topology, name: str, role: str) -> httpx.Client:
    """A person who was invited from a container of the server and chose a password."""
    words = ("keyscope", "users", "invite", name, "--role", role, "--url", topology.url)
    link = topology.start("app", None, *words).communicate(timeout=120)[0].decode().strip()
    code = link.partition("#")[2]
    client = browser(topology.url)
    entered = client.post("/invitation", data={"name": name, "code": code, "password": PASSWORD})
    assert entered.is_success, entered.text
    return client  # open already


@pytest.fixture(scope="module")
def ada(topology: Topology) -> Iterator[httpx.Client]:
    client = invited(topology, "Ada", "admin")
    yield client
    client.close()


@pytest.fixture(scope="module")
def lea(topology: Topology) -> Iterator[httpx.Client]:
    client = invited(topology, "Lea", "labeler")
    yield client
    client.close()


def at(topology: Topology, which: int, person: httpx.Client) -> httpx.Client:
    """The person's browser at one of the two servers."""
    client = browser(topology.app(which))
    for name, value in person.cookies.items():
        client.cookies.set(name, value)
    return client


def test_a_person_signs_in_reads_a_key_labels_it_and_masks_it(topology: Topology, ada: httpx.Client):
    with browser(topology.url) as client:
        assert client.get("/").url.path == "/sign-in"
        assert client.post("/sign-in", data={"name": "Ada", "password": PASSWORD}).url.path == "/"
        page = client.get(f"/runs/{topology.run}/keys/L0.K1")
        assert "L0.K1" in page.text
        style = re.findall(r'href="([^"]+\.css[^"]*)"', page.text)[0]
        assert client.get(style).is_success
        label = client.put(f"/api/v1/runs/{topology.run}/keys/L0.K1/labels", json=LABEL)
        assert label.is_success, label.text
        assert "ends a line" in client.get(f"/runs/{topology.run}/keys/L0.K1").text
        asked = {"run": topology.run, "prompt": "def add(", "masks": [{"key": "L0.K1"}], "max_new_tokens": 3}
        whole = client.post("/api/v1/live/generate", json=asked, headers={"X-Request-ID": "the-masked-one"})
        assert whole.is_success, whole.text
        assert len(whole.json()["masked"]["tokens"]) == 3
        streamed = client.post("/api/v1/live/generate", json=asked, headers={"Accept": "text/event-stream"})
        assert streamed.text.count("event: token") == 6
        assert "event: done" in streamed.text
    of_the_worker = [json.loads(line) for line in topology.log(f"worker-{topology.worker_port}").splitlines()]
    assert [line["path"] for line in of_the_worker if line.get("request_id") == "the-masked-one"] == ["/generate"]


def test_a_change_at_one_server_reaches_pages_of_the_other(topology: Topology, ada: httpx.Client):
    key = f"/runs/{topology.run}/keys/L1.K2"
    cookies = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    listener = Listener(f"{topology.app(0)}{key}/events?since=nothing", {"Cookie": cookies})
    listener.start()
    assert listener.opened.wait(60)
    with at(topology, 1, ada) as client:
        assert client.put(f"/api/v1{key}/labels", json=LABEL).is_success
    until(lambda: bool(listener.events))
    listener.client.close()


def test_two_people_at_two_servers_get_different_keys_to_label(
    topology: Topology, ada: httpx.Client, lea: httpx.Client
):
    wanted = {"strategy": "sample", "people": 1, "calibration": 0}
    with at(topology, 0, ada) as one, at(topology, 1, lea) as other:
        first = one.post(f"/api/v1/runs/{topology.run}/queue", json=wanted).json()["key"]
        second = other.post(f"/api/v1/runs/{topology.run}/queue", json=wanted).json()["key"]
        assert first != second
        refused = other.put(f"/api/v1/runs/{topology.run}/keys/{first}/lease")
    assert (refused.status_code, refused.json()["error"]) == (409, "key_leased")


def test_wrong_passwords_are_counted_together(topology: Topology, ada: httpx.Client):
    statuses = []
    for number in range(12):
        with browser(topology.app(number % 2)) as client:
            statuses.append(client.post("/sign-in", data={"name": "Nobody", "password": PASSWORD}).status_code)
    assert statuses == [*[403] * 10, 429, 429]


def job_of(client: httpx.Client, name: str) -> dict[str, Any]:
    job: dict[str, Any] = client.get(f"/api/v1/jobs/{name}").json()["job"]
    return job


def test_a_job_is_known_to_both_servers_and_outlives_them_and_its_worker(topology: Topology, lea: httpx.Client):
    with at(topology, 0, lea) as one, at(topology, 1, lea) as other:
        begun = one.post("/api/v1/jobs", json={"run": topology.run, "kind": "firing"})
        assert begun.status_code == 202, begun.text
        name = begun.json()["job"]["id"]
        assert job_of(other, name)["kind"] == "firing"
        assert wait_until(lambda: job_of(other, name)["state"] not in ("queued", "running"), 120)
        ended = job_of(other, name)
        process = topology.running[f"app-{topology.app_ports[0]}"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for _ in range(2):
            assert lea.get("/healthz").is_success, "the other one answers at the common address"
        topology.start("app", topology.app_ports[0])
        topology.wait_for(f"app-{topology.app_ports[0]}")
        worker = topology.running[f"worker-{topology.worker_port}"]
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        assert job_of(one, name) == ended
        lost = one.post("/api/v1/live/generate", json={"run": topology.run, "prompt": "x", "max_new_tokens": 1})
    assert (lost.status_code, lost.json()["error"]) == (503, "worker_unavailable")
    assert ended["state"] == "done", ended
