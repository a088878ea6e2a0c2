"""`keyscope serve --processes`: several processes behind one address, as people and monitors see them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.processes import KEYSCOPE, answers, children, free_port, is_alive, wait_until

LABEL = {"kind": "syntactic", "description": "", "confidence": None, "tags": [], "evidence": []}
KEY = "/api/v1/runs/alpha/keys/L0.K1"


class Served(NamedTuple):
    process: subprocess.Popen[bytes]
    url: str

    @property
    def pids(self) -> set[int]:
        """The processes that answer."""
        return set(children(self.process.pid))


@pytest.fixture(scope="module")
def served(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port, folder = free_port(), tmp_path_factory.mktemp("labels")
    where = ["--runs", runs_dir, "--port", str(port), "--database-url", f"sqlite:///{folder / 'labels.sqlite'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*KEYSCOPE, "serve", "--processes", "2", *where], stdout=log, stderr=log)
    server = Served(process, f"http://127.0.0.1:{port}")
    try:
        assert wait_until(lambda: answers(f"{server.url}/healthz")), (folder / "log").read_text()
        assert wait_until(lambda: len(server.pids) == 2)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


def counted(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("keyscope_requests_total") and 'route="list_runs"' in line]
    return sum(int(float(line.split()[-1])) for line in found)


def test_the_requests_of_all_processes_are_counted_together(served: Served) -> None:
    for _ in range(12):
        assert httpx.get(f"{served.url}/api/v1/runs").is_success
    assert counted(served.url) == 12


def test_a_change_reaches_pages_that_another_process_serves(served: Served) -> None:
    label = httpx.put(f"{served.url}{KEY}/labels", json=LABEL, headers={"X-Keyscope-Person": "Ada"})
    assert label.is_success, label.text
    for _ in range(4):  # connections go to either process
        with httpx.stream(
            "GET", f"{served.url}/runs/alpha/keys/L0.K1/events", params={"since": "nothing"}, timeout=20
        ) as stream:
            assert any(line.startswith("event:") for line in stream.iter_lines())


def test_a_process_that_dies_is_replaced_and_the_others_answer(served: Served) -> None:
    before = served.pids
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: len(served.pids) == 2 and victim not in served.pids)
    assert len(served.pids & before) == 1
    assert all(wait_until(lambda: answers(f"{served.url}/healthz")) for _ in range(4))


def test_a_signal_ends_all_processes(served: Served) -> None:
    family = served.pids
    served.process.terminate()
    assert served.process.wait(timeout=30) == 0
    assert not [pid for pid in family if is_alive(pid)]


FAILING = """
from keyscope.contract.errors import KeyscopeError
from keyscope.serving.processes import run_in_processes

def serve():
    raise KeyscopeError("the port is not free")

run_in_processes(serve, 2, hopeless=3)
"""


def test_what_no_process_could_start_with_ends_all_with_a_sentence() -> None:
    ended = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert set(ended.stderr.splitlines()) == {"the port is not free"}
