"""Mask keys and regenerate: requests checked against the run, then handed to the worker with its weights."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.api.models import ERRORS
from app.dependencies import LiveWorkers, Runs
from app.live import State, for_worker
from app.relay import relay_events
from contract.manifest import Manifest
from contract.wire import ErrorAnswer, GenerateAnswer, GenerateRequest, WorkerInfo

EVENT_STREAM = "text/event-stream"
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Both branches; with Accept: text/event-stream the events token, then done or error",
        "content": {EVENT_STREAM: {}},
    },
    **{
        status: {"model": ErrorAnswer, "description": description}
        for status, description in (
            (400, "The prompt or the number of new tokens is over the worker's limit"),
            (409, "The workers serve other weights than the run's"),
            (413, "More masks or a larger body than the worker takes"),
            (429, "Too many requests of one client"),
            (503, "No worker answers, or its queue is full; Retry-After says when to try again"),
        )
    },
    **ERRORS,
}
router = APIRouter(prefix="/live", tags=["live"])


class StatusAnswer(BaseModel):
    """Whether a run's model can generate now."""

    ok: Literal[True] = True
    state: State
    detail: str
    worker: WorkerInfo | None


@router.get("/status", responses=ERRORS)
async def live_status(run: Annotated[str, Query()], runs: Runs, workers: LiveWorkers) -> StatusAnswer:
    """Whether a worker with the run's weights is up, busy or down."""
    manifest = await _manifest(runs, run)
    status = await workers.status(manifest)
    return StatusAnswer(state=status.state, detail=status.detail, worker=status.worker)


@router.post("/generate", response_model=GenerateAnswer, responses=RESPONSES)
async def generate(request: Request, body: GenerateRequest, runs: Runs, workers: LiveWorkers) -> Response:
    """Continue a prompt twice, as the model is and with keys masked; the two branches share every random draw."""
    manifest = await _manifest(runs, body.run)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        whole = await workers.generate(manifest, body)
        return Response(whole.model_dump_json(), media_type="application/json")
    wanted = for_worker(manifest, body)
    worker, _ = await workers.find(manifest)
    async with AsyncExitStack() as stack:
        # Opened before our own answer begins, so that a refusal still is an error status.
        answer = await stack.enter_async_context(worker.generate(wanted, EVENT_STREAM))
        return StreamingResponse(_events(answer, stack.pop_all()), media_type=EVENT_STREAM, headers=STREAM_HEADERS)


async def _events(answer: Any, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    try:
        async for event in relay_events(answer):
            yield event
    finally:
        # A client that vanished cancels us here; closing must still reach the worker, so that it stops.
        with anyio.CancelScope(shield=True):
            await stack.aclose()


async def _manifest(runs: Runs, run_id: str) -> Manifest:
    return (await run_in_threadpool(runs.get, run_id)).manifest
