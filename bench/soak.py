"""Attacks on a server and a worker of their own, each bounded in number and time: what held, with figures.

Both run as separate processes with 1,024 descriptors, over a run computed here with the demo model and a small run of
another shape. An attack holds if the servers answer everybody else meanwhile and lose nothing.
"""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import duckdb
import httpx
import psutil
import typer

from keyscope.contract.keys import KeyId
from keyscope.serving.connections import raise_descriptor_limit
from tests.labelers import Load, label_server
from tests.made.runs import build_run
from tests.processes import KEYSCOPE, answers, free_port, wait_until

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "codegen-nano"
CORPUS = ROOT / "keyscope" / "contract"
DESCRIPTORS = 1024
HELD = 1050
"""Connections held open at once, more than the process has descriptors."""
PROMPT = 1.0
"""Seconds in which a health check has to be answered whatever goes on."""
ENDLESS_REGEX = "(?s)" + "(?:(?:.?){100}){9}" * 24 + "zz@"
PERSON = {"X-Keyscope-Person": "Soak"}
ENDLESS_QUERY = "(module " + "(_)? @a (_)* @b " * 200 + ")"


class Fell(Exception):
    """The attack did what it must not."""


@dataclass
class Process:
    """A server or worker, with its log."""

    name: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.log = self.folder / f"{self.name}.log"
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        command = [*KEYSCOPE, *self.arguments, "--port", str(self.port)]
        limited = ["sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh", *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(limited, stdout=log, stderr=log, env=os.environ | self.environment)
        if not wait_until(lambda: answers(f"{self.url}/healthz"), seconds=120):
            raise Fell(f"the {self.name} did not start: {self.log.read_text()[-500:]}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def megabytes(self) -> float:
        memory: float = psutil.Process(self.process.pid).memory_info().rss / 2**20
        return memory

    def kill(self) -> None:
        """Kill the process with SIGKILL, like a crash."""
        self.process.kill()
        self.process.wait()

    def end(self) -> float:
        """Ask the process to end; returns the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Fell(f"the {self.name} did not end within 30 s of SIGTERM") from None
        return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Scene:
    """What is attacked."""

    folder: Path
    server: Process
    worker: Process
    run: str
    """Computed with the demo model, by the worker's weights."""


class Watch:
    """Asks for the health of a process again and again, and keeps the waits."""

    def __init__(self, url: str) -> None:
        self._host = url.removeprefix("http://")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.waits: list[float] = []

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            began = time.monotonic()
            # not by httpx, which needs more time to make a client than a server to answer
            connection = http.client.HTTPConnection(self._host, timeout=20)
            try:
                connection.request("GET", "/healthz")
                answered = connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                answered = False
            finally:
                connection.close()
            self.waits.append(time.monotonic() - began if answered else 60.0)

    def said(self) -> str:
        """The waits in words, if they were short.

        Raises:
            Fell: a health check waited too long.
        """
        words = f"healthz median {1000 * statistics.median(self.waits):.0f} ms, worst {max(self.waits):.2f} s"
        if max(self.waits) > PROMPT:
            raise Fell(words)
        return words


def patterns(scene: Scene) -> str:
    """Previews of a pattern that takes for ever, from many clients that leave at once."""
    query = {"language": "python", "kind": "regex", "pattern": ENDLESS_REGEX}

    async def try_it() -> None:
        async with httpx.AsyncClient(timeout=0.5) as client:
            page = f"{scene.server.url}/runs/{scene.run}/concepts"
            await asyncio.gather(*(client.get(page, params=query) for _ in range(45)), return_exceptions=True)

    with Watch(scene.server.url) as watch:
        asyncio.run(try_it())
        time.sleep(3)
    return watch.said()


def tree_query(scene: Scene) -> str:
    """A syntax-tree query that never ends, as a job, which is then cancelled."""
    job = _endless_job(scene)
    with Watch(scene.worker.url) as watch:
        time.sleep(8)
        cancelled = httpx.delete(f"{scene.server.url}/api/v1/jobs/{job}", headers=PERSON)
        _expect(cancelled.is_success, cancelled.text)
    return watch.said()


def hostile_files(scene: Scene) -> str:
    """Files among the runs that are no runs, or run SQL of their own."""
    runs = scene.folder / "runs"
    hostile = [
        runs / "empty.duckdb",
        runs / ".duckdb",
        runs / "view.duckdb",
        Path(os.fsdecode(b"%s/caf\xe9.duckdb" % os.fsencode(runs))),
    ]
    for path in hostile[:2] + hostile[3:]:
        path.write_bytes(b"")
    with duckdb.connect(str(hostile[2])) as connection:
        connection.execute(
            "CREATE VIEW manifest AS SELECT 1 AS schema_version, (SELECT count(*)::VARCHAR FROM range(100000000000)) AS document"
        )
    try:
        with Watch(scene.server.url) as watch:
            for path in ("/", "/live", "/labels", "/lists", "/api/v1/runs", f"/runs/{scene.run}"):
                answer = httpx.get(scene.server.url + path, timeout=30)
                _expect(answer.status_code == 200, f"{path} answered {answer.status_code}")
        return watch.said()
    finally:
        for path in hostile:
            path.unlink()


def connections(scene: Scene) -> str:
    """More connections than descriptors: silent ones, half a head, half a body; to the server and to the worker."""
    told = []
    for process in (scene.server, scene.worker):
        for begun in (b"", b"GET / HTTP/1.1\r\nX-A: ", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"):
            before = process.log.stat().st_size
            with Watch(process.url) as watch, _held(process.port, begun):
                time.sleep(3)
            grown = process.log.stat().st_size - before
            _expect(grown < 200_000, f"the {process.name} logged {grown:,} bytes")
            told.append(watch)
    for watch in told:
        watch.said()
    return f"healthz worst {max(max(watch.waits) for watch in told):.2f} s of {sum(len(w.waits) for w in told)} checks"


def methods(scene: Scene) -> str:
    """Invented methods, each of which would be one more series of the metrics."""
    for number in range(300):
        with socket.create_connection(("127.0.0.1", scene.server.port)) as client:
            client.sendall(b"M%06d%s /static/x HTTP/1.1\r\nHost: a\r\n\r\n" % (number, b"A" * 5000))
            client.recv(100)
    size = len(httpx.get(f"{scene.server.url}/metrics").content)
    _expect(size < 200_000, f"/metrics has {size:,} bytes")
    return f"/metrics has {size:,} bytes"


def overload(scene: Scene) -> str:
    """Three hundred key pages at once: answered or shed."""

    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            pages = (client.get(f"{scene.server.url}/runs/{scene.run}/keys/L{n % 8}.K{n}") for n in range(300))
            return [page.status_code for page in await asyncio.gather(*pages)]

    with Watch(scene.server.url) as watch:
        statuses = asyncio.run(ask())
    _expect(set(statuses) <= {200, 503}, f"statuses {sorted(set(statuses))}")
    return f"{statuses.count(200)} answered, {statuses.count(503)} shed, {watch.said()}"


def small_file(scene: Scene) -> str:
    """A label import of a few kilobytes that holds three million rows."""
    bomb = scene.folder / "bomb.parquet"
    duckdb.sql("SELECT 'Ada' AS person, 'L0.K1' AS key, 'syntactic' AS kind FROM range(3000000)").write_parquet(
        str(bomb)
    )
    before = scene.server.megabytes
    answer = httpx.post(
        f"{scene.server.url}/api/v1/labels/import",
        params={"format": "parquet", "dry_run": "true"},
        content=bomb.read_bytes(),
        timeout=60,
        headers=PERSON,
    )
    grown = scene.server.megabytes - before
    _expect(answer.status_code in (413, 422), f"{answer.status_code}: {answer.text[:200]}")
    _expect(grown < 300, f"the server grew by {grown:.0f} MB")
    return f"{bomb.stat().st_size:,} bytes refused, the server grew by {grown:.0f} MB"


def killed(scene: Scene) -> str:
    """The server killed under people who label, three times."""
    keys = [KeyId(layer, index) for layer in range(2) for index in range(6)]
    acknowledged = 0
    for number in range(3):
        with label_server(scene.folder / "labelled", f"sqlite:///{scene.folder}/labels-{number}.sqlite") as server:
            load = Load(labelers=6, labels=20, keys=keys)
            load.run(server, kill_after=40 + 10 * number)
            faults = load.faults(server.export())
            _expect(not faults, "; ".join(faults))
            acknowledged += len(load.acknowledged)
    return f"{acknowledged} acknowledged labels, none lost or doubled"


def mixed(scene: Scene) -> str:
    """Ordinary requests, many of them: no failure and no growth."""
    paths = [
        "/", f"/runs/{scene.run}", f"/runs/{scene.run}/layers/1", f"/runs/{scene.run}/search?fires_on=return", "/labels",
        f"/api/v1/runs/{scene.run}/keys/L1.K7", "/live", "/nothing", f"/runs/{scene.run}/keys/L99.K1",
    ]  # fmt: skip
    sizes = []
    for _ in range(3):
        for number in range(400):
            path = paths[number % len(paths)] if number % 2 else f"/runs/{scene.run}/keys/L{number % 8}.K{number}"
            answer = httpx.get(scene.server.url + path, timeout=30)
            _expect(answer.status_code < 500, f"{path} answered {answer.status_code}")
        sizes.append(scene.server.megabytes)
    _expect(sizes[2] - sizes[1] < 40, f"memory grew: {sizes}")
    return "1,200 requests, memory " + " → ".join(f"{size:.0f}" for size in sizes) + " MB"


def stopped_in_a_query(scene: Scene) -> str:
    """The worker told to end while a job of its matches for ever."""
    _endless_job(scene)
    time.sleep(3)
    seconds = scene.worker.end()
    _expect(seconds < 10, f"the worker took {seconds:.1f} s to end")
    return f"the worker ended in {seconds:.1f} s"


ATTACKS: list[Callable[[Scene], str]] = [
    patterns, tree_query, hostile_files, connections, methods, overload, small_file, killed, mixed, stopped_in_a_query,
]  # fmt: skip


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these attacks, by name; repeatable")] = None,
) -> None:
    """Print what each attack came to; exit with an error if one succeeded."""
    raise_descriptor_limit()  # of the attacker
    fell = 0
    with tempfile.TemporaryDirectory() as name, _scene(Path(name)) as scene:
        for attack in ATTACKS:
            if only and attack.__name__ not in only:
                continue
            began = time.monotonic()
            try:
                outcome, told = "held", attack(scene)
            except (Fell, httpx.HTTPError) as error:
                outcome, told = "FELL", str(error) or type(error).__name__
                fell += 1
            typer.echo(f"{outcome}  {attack.__name__:20} {time.monotonic() - began:5.0f} s  {told}")
    sys.exit(1 if fell else 0)


@contextlib.contextmanager
def _scene(folder: Path) -> Iterator[Scene]:
    runs = folder / "runs"
    runs.mkdir()
    (folder / "labelled").mkdir()
    build_run(folder / "labelled" / "alpha.duckdb")
    command = [*KEYSCOPE, "precompute", "--model", str(MODEL), "--corpus", str(CORPUS), "--out", str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (run,) = runs.glob("*.duckdb")
    worker = Process("worker", ["worker", "--model", str(MODEL), "--runs", str(runs)], folder)
    labels = f"sqlite:///{folder}/labels.sqlite"
    server = Process(
        "server", ["serve", "--runs", str(runs), "--worker-url", worker.url, "--database-url", labels], folder
    )
    try:
        yield Scene(folder, server, worker, run.stem)
    finally:
        for process in (server, worker):
            process.kill()


def _endless_job(scene: Scene) -> str:
    """Start a job whose query never ends; returns its id."""
    definition = {"name": "endless", "title": "endless", "patterns": {"python": {"query": ENDLESS_QUERY}}}
    asked = {"run": scene.run, "kind": "concepts", "settings": {"definition": definition}}
    job = httpx.post(f"{scene.server.url}/api/v1/jobs", json=asked, headers=PERSON, timeout=30)
    _expect(job.is_success, f"the job was not taken: {job.text[:200]}")
    started: str = job.json()["job"]["id"]
    return started


@contextlib.contextmanager
def _held(port: int, begun: bytes) -> Iterator[None]:
    """Hold connections that each began a request."""
    with contextlib.ExitStack() as stack:
        for _ in range(HELD):
            with contextlib.suppress(OSError):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
                client.sendall(begun)
        yield


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        raise Fell(otherwise)


if __name__ == "__main__":
    typer.run(main)
