"""Ways to drive the worker: one generation without a server, and its application without a network."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from torch import nn

from keyscope.contract.keys import Mask
from keyscope.contract.wire import Branch, DoneEvent, Positions, TokenEvent
from keyscope.worker.live.generation import Generator, Task
from keyscope.worker.live.server import Service, create_worker_app
from keyscope.worker.live.settings import WorkerSettings

NANO = Path(__file__).parents[3] / "models" / "codegen-nano"
PROMPT = "import numpy as np\n\n\ndef identity(n):\n    return "


@dataclass(frozen=True)
class Generated:
    """All events of a generation."""

    prompt_ids: list[int]
    tokens: dict[Branch, list[TokenEvent]]
    done: DoneEvent

    def ids(self, branch: Branch) -> list[int]:
        return [token.token_id for token in self.tokens[branch]]

    def logprobs(self, branch: Branch) -> list[float]:
        return [token.logprob for token in self.tokens[branch]]


def generate(
    generator: Generator,
    prompt: str = PROMPT,
    masks: Sequence[Mask] = (),
    new_tokens: int = 16,
    temperature: float = 0.0,
    seed: int = 0,
    top: int = 3,
    control: Sequence[Mask] | None = None,
    positions: Positions = "both",
) -> Generated:
    """Generate without queue and server."""
    third = None if control is None else tuple(control)
    ids = generator.text.encode(prompt)
    task = Task(ids, tuple(masks), new_tokens, temperature, seed, top, third, positions)
    tokens: dict[Branch, list[TokenEvent]] = {branch: [] for branch in task.rows}
    done = generator.run(task, lambda event: tokens[event.branch].append(event))
    return Generated(task.prompt_ids, tokens, done)


@dataclass(frozen=True)
class Worker:
    """A running application and a client for it."""

    app: FastAPI
    client: httpx.AsyncClient
    exit_codes: list[int]

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    async def generate(self, **body: Any) -> httpx.Response:
        return await self.client.post("/generate", json={"prompt": PROMPT, "max_new_tokens": 8} | body)

    async def until(self, condition: str) -> None:
        """Wait until an expression about the engine, such as `waiting == 1`, is true."""
        names = {"waiting": lambda: self.service.engine.waiting, "running": lambda: int(self.service.engine.running)}
        name, number = condition.split(" == ")
        async with asyncio.timeout(10):
            while names[name]() != int(number):
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running_worker(model: Path = NANO, **settings: Any) -> AsyncIterator[Worker]:
    """Start the application, as a server would, and stop it."""
    exit_codes: list[int] = []
    app = create_worker_app(WorkerSettings(model=str(model), **settings), exit_codes.append)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            yield Worker(app, client, exit_codes)


async def vanish(app: FastAPI, body: dict[str, Any], accept: str, after: asyncio.Event) -> list[bytes]:
    """Ask, and leave once `after` is set; returns the chunks that had come by then.

    `after` may be set by the chunks themselves: it is replaced by the first chunk where it is None.
    """
    chunks: list[bytes] = []
    request = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if request:
            return request.pop()
        await after.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if chunk := message.get("body"):
            chunks.append(chunk)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"accept", accept.encode())]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/generate"}
    scope |= {
        "raw_path": b"/generate",
        "query_string": b"",
        "headers": headers,
        "client": ("test", 1),
        "scheme": "http",
    }
    await app(scope | {"server": ("worker", 80)}, receive, send)
    return chunks


def events(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, each with its name and its data."""
    found = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def count_hooks(model: nn.Module) -> int:
    """Hooks of every kind on all modules of a model."""
    return sum(
        len(hooks)
        for module in model.modules()
        for name, hooks in vars(module).items()
        if name.endswith("_hooks") and isinstance(hooks, dict)
    )
