"""Many people labelling at once over HTTP, and a check that no acknowledged label is lost or duplicated."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from keyscope.contract.keys import KeyId
from tests.processes import KEYSCOPE, free_port, wait_until

RUN = "alpha"
KINDS = ("syntactic", "semantic", "mixed", "unclear")
PATIENCE = 60.0


@dataclass
class LabelServer:
    """A server process that can be killed and restarted at the same address."""

    runs: Path
    database_url: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        where = ["--runs", str(self.runs), "--database-url", self.database_url, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*KEYSCOPE, "serve", *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert wait_until(self._listens, seconds=180), "the server did not start"

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill the process with SIGKILL, like a crash."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def export(self) -> list[dict[str, Any]]:
        """All labels, replaced ones included."""
        lines = httpx.get(f"{self.url}/api/v1/labels/export?format=jsonl", timeout=PATIENCE).text.splitlines()
        return [json.loads(line) for line in lines]


@contextmanager
def label_server(runs: Path, database_url: str) -> Iterator[LabelServer]:
    """A running server, killed at the end."""
    server = LabelServer(runs, database_url)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A label the server confirmed as saved."""

    id: int
    person: str
    key: str
    words: str


@dataclass
class Load:
    """`labelers` people who give `labels` labels each, and the answers they got."""

    labelers: int
    labels: int
    keys: list[KeyId]
    again_after: frozenset[int] = frozenset()
    """Statuses after which a label is sent again."""
    acknowledged: list[Acknowledged] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Seconds until a label was acknowledged, for those acknowledged at the first attempt."""
    empty: list[float] = field(default_factory=list)
    """Seconds that a health check takes under the same load."""
    refused: list[str] = field(default_factory=list)
    """Unsuccessful answers."""
    seconds: float = 0.0

    def run(self, server: LabelServer, kill_after: int | None = None) -> None:
        """Give all labels; kill and restart the server once after `kill_after` of them, if given."""
        asyncio.run(self._run(server, kill_after))

    def faults(self, exported: list[dict[str, Any]]) -> list[str]:
        """Problems found in an export made after the run; an empty list if all is well."""
        rows = {(row["id"], row["person"], row["key"], row["description"]): row for row in exported}
        lost = [each for each in self.acknowledged if (each.id, each.person, each.key, each.words) not in rows]
        words = [row["description"] for row in exported]
        found = [f"{len(lost)} acknowledged labels are not in the export: {lost[:3]}"] if lost else []
        if len(set(words)) != len(words):
            found.append(f"{len(words) - len(set(words))} labels are duplicated")
        if len(self.acknowledged) != self.labelers * self.labels:
            found.append(f"{len(self.acknowledged)} of {self.labelers * self.labels} labels were acknowledged")
        if len(words) != len(self.acknowledged):
            found.append(f"{len(words)} labels are in the export, but {len(self.acknowledged)} were acknowledged")
        return found + self.refused[:3] + _breaks(exported)

    async def _run(self, server: LabelServer, kill_after: int | None) -> None:
        started = time.monotonic()
        limits = httpx.Limits(max_connections=self.labelers, max_keepalive_connections=self.labelers)
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=limits) as client:
            people = [self._label(client, number) for number in range(self.labelers)]
            killer = self._kill(server, kill_after) if kill_after else asyncio.sleep(0)
            await asyncio.gather(killer, *people)
            self.seconds = time.monotonic() - started
            await asyncio.gather(*(self._ask_for_nothing(client) for _ in range(self.labelers)))

    async def _label(self, client: httpx.AsyncClient, number: int) -> None:
        person, said = f"person {number}", dict[str, int]()
        for turn in range(self.labels):
            key = str(self.keys[(7 * number + turn) % len(self.keys)])
            words = f"{person}, label {turn}"
            label_id = await self._put(client, person, key, words, said.get(key, 0))
            if label_id is None:
                return
            said[key] = label_id
            self.acknowledged.append(Acknowledged(label_id, person, key, words))

    async def _put(self, client: httpx.AsyncClient, person: str, key: str, words: str, based_on: int) -> int | None:
        """Send a label until it is acknowledged, again if the connection breaks; returns its id."""
        url, headers = f"/api/v1/runs/{RUN}/keys/{key}/labels", {"X-Keyscope-Person": person}
        body = {"kind": KINDS[len(words) % 4], "description": words, "based_on": based_on, "tags": ["load"]}
        again = False
        while True:
            started = time.perf_counter()
            try:
                answer = await client.put(url, json=body, headers=headers)
                given = await client.get(url) if again and answer.status_code == 409 else None
            except httpx.TransportError:
                answer = given = None
            if answer is None or {answer.status_code, given.status_code if given else 0} & self.again_after:
                again = True
                await asyncio.sleep(0.2)
                continue
            if answer.status_code == 200:
                if not again:
                    self.latencies.append(time.perf_counter() - started)
                return int(answer.json()["label"]["id"])
            if given is not None:
                # The label may have been saved and only the acknowledgement lost: then it is there exactly once.
                labels = given.json()["labels"]
                mine = next((label for label in labels if label["person"] == person), None)
                if mine and mine["description"] == words:
                    return int(mine["id"])
            self.refused.append(f"{person} on {key}: {answer.status_code} {answer.text[:200]}")
            return None

    async def _kill(self, server: LabelServer, after: int) -> None:
        while len(self.acknowledged) < after:
            await asyncio.sleep(0.01)
        server.kill()
        await asyncio.to_thread(server.start)

    async def _ask_for_nothing(self, client: httpx.AsyncClient) -> None:
        for _ in range(10):
            started = time.perf_counter()
            await client.get("/healthz")
            self.empty.append(time.perf_counter() - started)


def _breaks(exported: list[dict[str, Any]]) -> list[str]:
    """Histories with a gap: each label must end at the moment the same person's next one on the key begins."""
    histories = defaultdict(list)
    for row in sorted(exported, key=lambda row: row["id"]):
        histories[row["person"], row["key"]].append(row)
    found = []
    for (person, key), rows in histories.items():
        ends = [row["superseded_at"] for row in rows]
        if ends != [row["created_at"] for row in rows[1:]] + [None]:
            found.append(f"the history of {person} on {key} has a gap")
    return found
