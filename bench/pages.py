"""Pages and JSON under load: requests a second with eight clients, and the wait of one client alone.

Clients run in a process of their own and keep their connections. Every kind of request is measured in one run, in turns,
and told as a ratio to the health check, which is what the server can do at most. Keys are drawn at random. On request,
`datasette` serves the triggers of the same keys from SQLite beside it.
"""

import asyncio
import json
import multiprocessing
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from keyscope.contract.runfile import open_run, read_manifest
from tests.labelers import label_server
from tests.processes import answers, free_port, wait_until

CLIENTS = 8
TOKENS = ("return", " self", "import", " =", "(", " if", " err", "public", ".", "func")


class Measured(NamedTuple):
    """One kind of request: `together` by eight clients, `alone` by one."""

    together: float
    """Requests a second."""
    waits: list[float]
    """Seconds, of one client alone."""
    size: int
    """Bytes of an answer."""


def main(
    runs: Annotated[Path, typer.Option(help="Directory of runs, such as the demo's")] = Path("runs"),
    run: Annotated[str | None, typer.Option(help="Name of the run; the first one by default")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds for each kind of request, in all")] = 6.0,
    datasette: Annotated[
        bool, typer.Option(help="Install datasette into an environment of its own and compare")
    ] = False,
) -> None:
    """Print requests a second, their ratio to the health check, and the waits of one client alone."""
    chosen = run or min((path.stem for path in runs.glob("*.duckdb")), default=None)
    if chosen is None:
        raise typer.BadParameter(f"{runs} has no runs: compute one with `make demo`", param_hint="--runs")
    with open_run(runs / f"{chosen}.duckdb") as connection:
        sizes = read_manifest(connection).model.keys_per_layer
    keys = random.Random(0)
    names = [f"L{layer}.K{keys.randrange(sizes[layer])}" for layer in (keys.randrange(len(sizes)) for _ in range(4000))]
    layers = [f"/runs/{chosen}/layers/{name[1:].partition('.')[0]}" for name in names]
    kinds = {
        "/healthz": ["/healthz"],
        "static file": ["/static/js/app.js"],
        "key page": [f"/runs/{chosen}/keys/{name}" for name in names],
        "key JSON": [f"/api/v1/runs/{chosen}/keys/{name}" for name in names],
        "layer page": layers,
        "overview": [f"/runs/{chosen}"],
        "search": [f"/runs/{chosen}/search?fires_on={token.replace(' ', '+')}" for token in TOKENS if token != "="],
    }
    with tempfile.TemporaryDirectory() as folder:
        with label_server(runs, f"sqlite:///{folder}/labels.sqlite") as server:
            found = _measure(server.port, kinds, seconds)
        if datasette:
            with _datasette(runs / f"{chosen}.duckdb", Path(folder), names[:200]) as port:
                rows = [f"/triggers/triggers.json?_shape=array&key={name}" for name in names[:200]]
                found |= _measure(port, {"datasette JSON": rows}, seconds)
    typer.echo(f"{chosen}, {sum(sizes):,} keys, {CLIENTS} clients")
    best = found["/healthz"].together
    for name, each in found.items():
        waits = statistics.quantiles(each.waits, n=100)
        typer.echo(
            f"{name:16} {each.together:7.0f} requests/s   1/{best / each.together:5.1f} of /healthz   "
            f"alone p50 {1000 * waits[49]:6.1f} ms, p99 {1000 * waits[98]:6.1f} ms   {each.size:,} bytes"
        )


def _measure(port: int, kinds: dict[str, list[str]], seconds: float) -> dict[str, Measured]:
    with multiprocessing.get_context("spawn").Pool(1) as clients:
        return clients.apply(_ask_all, (port, kinds, seconds))


def _ask_all(port: int, kinds: dict[str, list[str]], seconds: float) -> dict[str, Measured]:
    """Measure every kind in turns, after one turn that is not counted."""
    turns = 3
    counts = dict.fromkeys(kinds, 0.0)
    waits: dict[str, list[float]] = {name: [] for name in kinds}
    sizes = dict.fromkeys(kinds, 0)
    for turn in range(turns + 1):
        for name, paths in kinds.items():
            share = seconds / turns / 2
            taken, sizes[name] = asyncio.run(_ask(port, paths[turn::turns] or paths, CLIENTS, share))
            alone, _ = asyncio.run(_ask(port, paths[turn::turns] or paths, 1, share))
            if turn:
                counts[name] += len(taken) / share / turns
                waits[name] += alone
    return {name: Measured(counts[name], waits[name], sizes[name]) for name in kinds}


async def _ask(port: int, paths: list[str], clients: int, seconds: float) -> tuple[list[float], int]:
    """The seconds of every answer, and the bytes of the last one."""
    ends = time.perf_counter() + seconds
    taken: list[float] = []
    size = 0

    async def client(number: int) -> None:
        nonlocal size
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        at = number
        while time.perf_counter() < ends:
            began = time.perf_counter()
            writer.write(f"GET {paths[at % len(paths)]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{paths[at % len(paths)]}: {head[:80]!r}")
            size = await _body(reader, head)
            taken.append(time.perf_counter() - began)
            at += clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return taken, size


async def _body(reader: asyncio.StreamReader, head: bytes) -> int:
    """Read a body; returns its bytes."""
    if b"content-length:" in head:
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        return size
    size = 0
    while chunk := int(await reader.readline(), 16):
        await reader.readexactly(chunk + 2)
        size += chunk
    await reader.readline()
    return size


@contextmanager
def _datasette(run: Path, folder: Path, keys: list[str]) -> Iterator[int]:
    """datasette with the triggers of some keys, whole windows included, indexed by key."""
    place = folder / "triggers.db"
    with open_run(run) as connection, sqlite3.connect(place) as database:
        database.execute("CREATE TABLE triggers (key, language, rank, coefficient, path, line, token_ids)")
        for key in keys:
            layer, index = key[1:].split(".K")
            rows = connection.execute(
                "SELECT t.language, rank, coefficient, path, t.line, token_ids FROM triggers t JOIN windows USING (window_id) "
                'JOIN files USING (file_id) WHERE layer = ? AND "index" = ?',
                [layer, index],
            ).fetchall()
            values = ((key, *row[:-1], json.dumps(row[-1])) for row in rows)
            database.executemany("INSERT INTO triggers VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        database.execute("CREATE INDEX by_key ON triggers (key)")
    venv.create(folder / "datasette", with_pip=True)
    binaries = folder / "datasette" / "bin"
    subprocess.run([binaries / "pip", "install", "-q", "datasette"], check=True, stdout=sys.stderr)
    port = free_port()
    arguments = [
        place,
        "--port",
        str(port),
        "--setting",
        "max_returned_rows",
        "2000",
        "--setting",
        "default_page_size",
        "1000",
    ]
    process = subprocess.Popen(
        [binaries / "datasette", "serve", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/versions.json")), "datasette did not start"
        yield port
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    typer.run(main)
