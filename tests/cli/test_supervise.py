import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyscope.cli.supervise import Service, ServiceFailed, supervise
from tests.processes import free_port, is_alive, wait_until

CHILD = """
import http.server, os, pathlib, sys, threading
from keyscope.cli.supervise import stop_with_input
port, marker, lives = int(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3])
with marker.open("a") as file:
    print(os.getpid(), file=file)
print("a last word", flush=True)
stop_with_input()
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
if lives == 0:
    sys.exit(7)
if lives < 60:
    threading.Timer(lives, lambda: os._exit(7)).start()
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""
FOREVER = 60.0


def service(tmp_path: Path, name: str, lives: float = FOREVER, restarts: int | None = None) -> Service:
    port = free_port()
    return Service(
        name=name,
        command=[sys.executable, "-c", CHILD, str(port), str(tmp_path / name), str(lives)],
        health_url=f"http://127.0.0.1:{port}/",
        log=tmp_path / f"{name}.log",
        restarts=restarts,
    )


def pids(tmp_path: Path, name: str) -> list[int]:
    return [int(line) for line in (tmp_path / name).read_text().split()]


def interrupt() -> None:
    raise KeyboardInterrupt


def test_both_services_answer_before_ready_and_an_interrupt_leaves_nothing_behind(tmp_path):
    services = [service(tmp_path, "server"), service(tmp_path, "worker", restarts=1)]
    with pytest.raises(KeyboardInterrupt):
        supervise(services, ready=interrupt, note=print)
    started = pids(tmp_path, "server") + pids(tmp_path, "worker")
    assert len(started) == 2
    assert not any(map(is_alive, started))


def test_a_service_that_ends_before_it_is_ready_is_named_with_its_log(tmp_path):
    with pytest.raises(ServiceFailed, match=r"the server ended with exit code 7 before it was ready") as failure:
        supervise([service(tmp_path, "server", lives=0)], ready=interrupt, note=print)
    assert failure.value.detail.endswith("a last word")


def test_a_service_that_never_answers_is_given_up_and_stopped(tmp_path):
    deaf = service(tmp_path, "server")
    deaf = Service(deaf.name, deaf.command, f"http://127.0.0.1:{free_port()}/", deaf.log)
    with pytest.raises(ServiceFailed, match="the server did not answer within 1 s"):
        supervise([deaf], ready=interrupt, note=print, ready_seconds=1.0)
    assert not any(map(is_alive, pids(tmp_path, "server")))


def test_when_the_server_ends_the_worker_is_stopped_too(tmp_path):
    services = [service(tmp_path, "worker", restarts=1), service(tmp_path, "server", lives=0.8)]
    with pytest.raises(ServiceFailed, match="the server ended with exit code 7"):
        supervise(services, ready=lambda: None, note=print)
    assert not any(map(is_alive, pids(tmp_path, "worker")))


def test_a_worker_that_ends_is_started_once_more_and_then_done_without(tmp_path):
    notes: list[str] = []
    worker = service(tmp_path, "worker", lives=0.8, restarts=1)
    server = service(tmp_path, "server")

    def note(text: str) -> None:
        notes.append(text)
        if len(notes) == 2:
            assert all(map(is_alive, pids(tmp_path, "server")))
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        supervise([server, worker], ready=lambda: None, note=note)
    assert len(pids(tmp_path, "worker")) == 2
    assert notes[0].endswith("restarting it")
    assert notes[1].endswith("the others continue without it")


def test_services_end_when_the_one_who_started_them_is_killed(tmp_path):
    child = service(tmp_path, "server")
    parent = f"""
from pathlib import Path
from keyscope.cli.supervise import Service, supervise
supervise([Service("server", {child.command!r}, {child.health_url!r}, Path({str(child.log)!r}))], lambda: None, print)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        assert wait_until((tmp_path / "server").exists)
        assert wait_until(lambda: bool(pids(tmp_path, "server")))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not any(map(is_alive, pids(tmp_path, "server"))))
    finally:
        process.kill()
        process.wait()
