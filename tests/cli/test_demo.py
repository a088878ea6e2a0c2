import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from keyscope.cli import demo_run as demo
from keyscope.cli.demo_run import PortTaken, Prepared, choose_ports, prepare, services
from keyscope.worker.corpus.demo import DemoSource, DemoSources
from keyscope.worker.progress import Silent
from tests.processes import KEYSCOPE, answers, children, free_port, is_alive, wait_until
from tests.worker.models import save_tiny

ROOT = Path(__file__).parents[2]


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def corpus(monkeypatch, tmp_path):
    """A demo corpus of one source, whose identity the test may change."""
    found = DemoSources([DemoSource("python-3", "python", tmp_path, "first", str)], {"go": "no network"})
    monkeypatch.setattr(demo, "demo_sources", lambda *_args, **_more: found)
    return found


@pytest.fixture
def requests(monkeypatch, tmp_path):
    """Precomputes that were asked for; each only leaves a file."""
    asked = []

    def precompute(request, _progress):
        asked.append(request)
        path = request.out / f"run-{len(asked)}.duckdb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a run")
        return path

    monkeypatch.setattr("keyscope.worker.precompute.run.precompute", precompute)
    return asked


def test_the_same_content_is_computed_once(model, corpus, requests, tmp_path):
    runs = tmp_path / "runs"
    first = prepare(str(model), runs, 20, Silent())
    second = prepare(str(model), runs, 20, Silent())
    assert first == second == Prepared(runs / "run-1.duckdb", str(model))
    assert len(requests) == 1


@pytest.mark.parametrize("change", ["weights", "corpus", "settings", "run"])
def test_other_content_is_computed_anew(model, corpus, requests, tmp_path, change):
    runs = tmp_path / "runs"
    first = prepare(str(model), runs, 20, Silent())
    if change == "weights":
        (model / "model.safetensors").write_bytes(b"others!")
    if change == "corpus":
        corpus.sources[0] = DemoSource("python-3", "python", tmp_path, "second", str)
    if change == "run":
        first.run.unlink()
    prepare(str(model), runs, 21 if change == "settings" else 20, Silent())
    assert len(requests) == 2


def test_a_damaged_index_only_costs_time(model, corpus, requests, tmp_path):
    runs = tmp_path / "runs"
    prepare(str(model), runs, 20, Silent())
    (runs / ".demo" / "index.json").write_text("{")
    prepare(str(model), runs, 20, Silent())
    prepare(str(model), runs, 20, Silent())
    assert len(requests) == 2


def test_the_demo_reads_a_share_and_goes_on_where_it_was_interrupted(model, corpus, requests, tmp_path):
    notes = Notes()
    prepare(str(model), tmp_path / "runs", None, notes)
    request = requests[0]
    assert request.corpus == ("demo",)
    assert request.settings == demo.SMALL_SHARE.settings(None)
    assert request.languages == ("python",)
    assert request.resume
    assert notes.said == ["continuing without go: no network"]


def test_a_cached_run_is_found_without_torch(tmp_path):
    """On the second start seconds count; torch is left to the worker."""
    code = f"""
import sys
from pathlib import Path
from pathlib import Path
from keyscope.cli import demo_run as demo
from keyscope.worker.model.known import NANO
from keyscope.worker.corpus.demo import DemoSources
from keyscope.worker.progress import Silent
demo.demo_sources = lambda *_args, **_more: DemoSources([], {{}})
runs = Path({str(tmp_path)!r})
settings = demo.SHARES["nano"].settings(20)
key = demo._key(str(NANO), DemoSources([], {{}}), settings)
demo._Index(runs / ".demo" / "index.json").put(key, "run.duckdb")
(runs / "run.duckdb").touch()
assert demo.prepare("nano", runs, 20, Silent()).run == runs / "run.duckdb"
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_port_that_was_asked_for_has_to_be_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is in use"):
            choose_ports(port)


def test_ports_nobody_asked_for_are_the_next_free_ones(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        monkeypatch.setattr(demo, "FIRST_PORT", busy)
        server, worker = choose_ports(None)
    assert busy < server < worker


def test_server_and_worker_share_a_secret_that_is_on_no_command_line(tmp_path):
    worker, server = services(Prepared(tmp_path / "run.duckdb", "some/model"), tmp_path, tmp_path / "logs", 8000, 8001)
    assert worker.environment == server.environment
    secret = server.environment["KEYSCOPE_WORKER_TOKEN"]
    assert len(secret) > 30
    assert not any(secret in argument for service in (worker, server) for argument in service.command)
    assert worker.restarts == 1
    assert server.restarts is None


@pytest.mark.parametrize("path", [[ROOT], [".", ROOT]])
def test_services_start_where_other_packages_have_our_rooms_names(tmp_path, path):
    for name in ("app", "worker", "contract"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('somebody else')\n")
    if "." not in path:  # where it is asked for, the current folder may hide the installed package
        (tmp_path / "keyscope.py").write_text("raise ImportError('somebody else')\n")
    command = services(Prepared(tmp_path / "run.duckdb", "some/model"), tmp_path, tmp_path / "logs", 8000, 8001)[
        1
    ].command
    listing = [
        *command[: command.index("serve")],
        "users",
        "list",
        "--json",
        "--database-url",
        "sqlite:///labels.sqlite",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    listed = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert json.loads(listed.stdout) == {"ok": True, "people": []}, listed.stderr


def test_the_demo_serves_keys_and_ctrl_c_leaves_nothing_behind(tmp_path):
    """The whole way, with a tiny model and only what is installed: there is no network here."""
    model = save_tiny(tmp_path / "tiny-llama", "llama", max_position_embeddings=512)
    port = free_port()
    command = [*KEYSCOPE, "demo", "--model", model, "--runs", tmp_path / "runs", "--files-per-language", "3"]
    environment = os.environ | {
        "KEYSCOPE_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "npm_config_offline": "true",
        "npm_config_cache": str(tmp_path / "npm"),
        "JAVA_HOME": str(tmp_path),
    }
    process = subprocess.Popen(
        [*map(str, command), "--port", str(port)], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "/demo?run=" in line:
                break
        assert "Keyscope is ready" in said, said
        pids = children(process.pid)
        runs = httpx.get(f"http://127.0.0.1:{port}/api/v1/runs").json()["runs"]
        assert httpx.get(line.split()[-1]).status_code == 200
        live = httpx.post(
            f"http://127.0.0.1:{port}/api/v1/live/generate",
            json={"run": runs[0]["run_id"], "prompt": "def", "masks": [{"key": "L0.K1"}], "max_new_tokens": 2},
            timeout=60,
        )
        process.send_signal(signal.SIGINT)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert re.search(r"continuing without go: ", said), said
    assert "python" in runs[0]["languages"]
    assert "go" not in runs[0]["languages"]
    assert len(live.json()["masked"]["tokens"]) == 2, live.text
    assert process.returncode == 0
    assert len(pids) == 2
    assert wait_until(lambda: not any(map(is_alive, pids)), 5)
    assert not answers(f"http://127.0.0.1:{port}/healthz")
