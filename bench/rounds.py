"""Every process of a deployment killed under load, round after round: what was acknowledged is still there.

Two servers behind one address share a durable PostgreSQL, and a worker serves both. In each round one process is killed by
SIGKILL at a random moment and started again, while people label and others generate. A killed PostgreSQL backend makes the
database end all connections and recover from its log, as after a crash.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bench.soak import Fell, Process
from keyscope.contract.keys import KeyId
from tests.deploy.round_robin import round_robin
from tests.labelers import RUN, LabelServer, Load
from tests.made.runs import build_run
from tests.postgres import Server, postgresql
from tests.processes import KEYSCOPE
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus

DATABASE = "rounds"
TOKEN = {"KEYSCOPE_WORKER_TOKEN": "rounds"}
LABELERS, LABELS, CLIENTS, GENERATIONS = 6, 8, 4, 6
KEYS = [KeyId(layer, index) for layer in range(2) for index in range(6)]
PROMPT = "def add(a, b):\n    return"


@dataclass
class Deployment:
    """Two servers, their database and a worker."""

    folder: Path
    postgres: Server
    servers: list[Process]
    worker: Process
    url: str
    """The common address of the servers."""
    computed: str
    """Name of a run of the worker's model."""


class Victim(LabelServer):
    """The common address, behind which something is killed and started again."""

    def __init__(self, url: str, kill: Callable[[], None], start: Callable[[], None]) -> None:
        super().__init__(Path(), "", int(url.rpartition(":")[2]))
        self._kill, self._start = kill, start

    def start(self) -> None:
        """Start what was killed."""
        self._start()

    def kill(self) -> None:
        """Kill it."""
        self._kill()


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds for each process")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the moments at which processes are killed")] = 0,
) -> None:
    """Print what each process's rounds came to; exit with an error if anything was lost."""
    moments = random.Random(seed)
    fell = 0
    with tempfile.TemporaryDirectory() as name, _deployment(Path(name)) as deployment:
        for title, kill_rounds in (("server", _servers), ("database", _database), ("worker", _worker)):
            began = time.monotonic()
            try:
                outcome, told = "held", kill_rounds(deployment, rounds, moments)
            except (Fell, httpx.HTTPError) as error:
                outcome, told = "FELL", str(error) or type(error).__name__
                fell += 1
            typer.echo(f"{outcome}  {title:10} {rounds} rounds  {time.monotonic() - began:5.0f} s  {told}")
    sys.exit(1 if fell else 0)


def _servers(deployment: Deployment, rounds: int, moments: random.Random) -> str:
    def kill(number: int) -> tuple[Callable[[], None], Callable[[], None]]:
        server = deployment.servers[number % len(deployment.servers)]
        return server.kill, server.start

    return _labelled(deployment, rounds, moments, kill)


def _database(deployment: Deployment, rounds: int, moments: random.Random) -> str:
    def kill(_number: int) -> tuple[Callable[[], None], Callable[[], None]]:
        return lambda: _kill_backend(deployment.postgres), lambda: None

    return _labelled(deployment, rounds, moments, kill)


def _kill_backend(postgres: Server) -> None:
    with postgres.connect() as connection:
        (pid,) = connection.execute(
            "SELECT min(pid) FROM pg_stat_activity WHERE datname = %s", [DATABASE]
        ).fetchone() or (None,)
    if pid is None:
        raise Fell("no server is connected to the database")
    os.kill(pid, signal.SIGKILL)


def _labelled(
    deployment: Deployment,
    rounds: int,
    moments: random.Random,
    killing: Callable[[int], tuple[Callable[[], None], Callable[[], None]]],
) -> str:
    """Rounds in which people label."""
    acknowledged, slowest = 0, 0.0
    for number in range(rounds):
        deployment.postgres.empty(DATABASE)
        victim = Victim(deployment.url, *killing(number))
        load = Load(LABELERS, LABELS, KEYS, again_after=frozenset({500, 502, 503}))
        load.run(victim, kill_after=moments.randrange(1, LABELERS * LABELS))
        if faults := load.faults(victim.export()):
            raise Fell(f"round {number}: {'; '.join(faults)}")
        acknowledged += len(load.acknowledged)
        slowest = max(slowest, load.seconds)
    return f"{acknowledged:,} acknowledged labels, none lost or doubled; the slowest round took {slowest:.1f} s"


def _worker(deployment: Deployment, rounds: int, moments: random.Random) -> str:
    """Rounds in which people generate: each is told how it ended, and what was generated to its end is right."""
    expected = asyncio.run(_generated(deployment, 1))[0][1]
    ends = Counter[str]()
    for _ in range(rounds):
        for end, text in asyncio.run(_generated(deployment, CLIENTS * GENERATIONS, moments.uniform(0, 1.5))):
            ends[end] += 1
            if end == "done" and text != expected:
                raise Fell(f"a generation came out as {text!r} and not as {expected!r}")
        if asyncio.run(_generated(deployment, 1)) != [("done", expected)]:
            raise Fell("the worker that was started again does not generate as before")
    told = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    return f"{sum(ends.values())} generations: {told}; none wrong or without an end"


async def _generated(deployment: Deployment, times: int, killed_after: float | None = None) -> list[tuple[str, str]]:
    """How generations ended, and their masked text; the worker is killed and started again meanwhile."""
    body = {"run": deployment.computed, "prompt": PROMPT, "masks": [{"key": "L1.K2"}], "max_new_tokens": 16}
    limits = httpx.Limits(max_connections=CLIENTS)

    async def one(client: httpx.AsyncClient) -> tuple[str, str]:
        answer = await client.post("/api/v1/live/generate", json=body, headers={"Accept": "text/event-stream"})
        if answer.headers["content-type"].startswith("application/json"):
            refused: dict[str, Any] = answer.json()
            return f"refused ({refused['error']})", ""
        events = [_event(part) for part in answer.text.strip().split("\n\n") if part.startswith("event: ")]
        end, last = events[-1]
        if end not in ("done", "error"):
            raise Fell(f"a stream ended without saying so, after {last}")
        masked = [said["token_id"] for kind, said in events if kind == "token" and said["branch"] == "masked"]
        return ("done", str(masked)) if end == "done" else ("broken off, and told", "")

    async def kill() -> None:
        if killed_after is not None:
            await asyncio.sleep(killed_after)
            deployment.worker.kill()
            await asyncio.to_thread(deployment.worker.start)

    async with httpx.AsyncClient(base_url=deployment.url, timeout=120, limits=limits) as client:
        *found, _ = await asyncio.gather(*(one(client) for _ in range(times)), kill())
        return found  # type: ignore[return-value]


def _event(part: str) -> tuple[str, dict[str, Any]]:
    """The kind of an event, and what it says."""
    kind, said = part.split("\n", 1)
    return kind.removeprefix("event: "), json.loads(said.removeprefix("data: "))


@contextmanager
def _deployment(folder: Path) -> Iterator[Deployment]:
    runs = folder / "runs"
    runs.mkdir()
    build_run(runs / f"{RUN}.duckdb")
    model, corpus = save_tiny(folder / "model", "codegen"), write_corpus(folder / "corpus", files=2)
    computed = run(model, corpus, runs).stem
    with postgresql(durable=True) as postgres:
        postgres.create(DATABASE)
        subprocess.run([*KEYSCOPE, "db", "upgrade", "--database-url", postgres.url(DATABASE)], check=True)
        shared = ["--runs", str(runs), "--database-url", postgres.url(DATABASE)]
        worker = Process("worker", ["worker", "--model", str(model), "--runs", str(runs)], folder, TOKEN)
        servers: list[Process] = []
        try:
            for number in range(2):
                servers.append(
                    Process(f"server-{number}", ["serve", *shared, "--worker-url", worker.url], folder, TOKEN)
                )
            with round_robin([server.port for server in servers]) as port:
                yield Deployment(folder, postgres, servers, worker, f"http://127.0.0.1:{port}", computed)
        finally:
            for process in (*servers, worker):
                process.kill()


if __name__ == "__main__":
    typer.run(main)
