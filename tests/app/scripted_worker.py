"""A fake worker whose stream a test advances step by step; `python -m tests.app.scripted_worker PORT WEIGHTS` runs one."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

TOKEN = b'event: token\r\ndata: {"branch": "baseline", "index": 0}\r\n\r\n'
DONE = b'event: done\ndata: {"first_divergence": null}\n\n'


class ScriptedWorker:
    """Stream `events`, one per permitted step, and record the requests."""

    def __init__(self, weights_sha256: str) -> None:
        self.info: dict[str, Any] = {
            "ok": True,
            "model_id": "toy",
            "weights_sha256": weights_sha256,
            "n_layers": 2,
            "keys_per_layer": [6, 6],
            "dtype": "float32",
            "device": "cpu",
            "limits": {"prompt_tokens": 8, "new_tokens": 8, "masks": 8, "queue": 1, "body_bytes": 1000},
            "waiting": 0,
            "running": False,
            "tokens_per_second": None,
        }
        self.events: list[bytes] = [TOKEN, DONE]
        self.refusal: tuple[int, dict[str, Any] | str, dict[str, str]] | None = None
        self.answer: dict[str, Any] = {}
        self.steps = asyncio.Semaphore(100)
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.infos = 0
        self.left_early = False
        self.app = FastAPI()
        self.app.get("/info")(self.show_info)
        self.app.post("/generate")(self.generate)
        self.app.post("/activations")(self.generate)
        self.app.post("/lens")(self.generate)
        self.app.post("/next")(self.generate)

    async def show_info(self) -> Response:
        self.infos += 1
        return JSONResponse(self.info)

    async def generate(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers = dict(request.headers)
        if self.refusal is not None:
            status, body, headers = self.refusal
            return Response(body if isinstance(body, str) else json.dumps(body), status, headers)
        if request.headers["accept"] == "text/event-stream":
            return StreamingResponse(self.stream(), media_type="text/event-stream")
        watching = asyncio.create_task(self.watch(request))
        await self.steps.acquire()
        watching.cancel()
        return JSONResponse(self.answer)

    async def watch(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.left_early = True

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for event in self.events:
                await self.steps.acquire()
                yield event
        except asyncio.CancelledError:
            self.left_early = True
            raise


if __name__ == "__main__":
    scripted = ScriptedWorker(sys.argv[2])
    scripted.events = [TOKEN, TOKEN[:20], DONE]
    scripted.steps = asyncio.Semaphore(2)
    uvicorn.run(scripted.app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
