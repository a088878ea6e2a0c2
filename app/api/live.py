"""Mask keys and regenerate: check requests against the run, then pass them to the worker with its weights."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Annotated

import httpx
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import needs
from keyscope.app.live.activations import read_activations
from keyscope.app.live.client import State, Worker, for_worker
from keyscope.app.live.relay import relay_events
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import LabelsDatabase, LiveWorkers, Runs
from keyscope.app.web.shapes import OF_A_RUN, Answer, Responses, failures
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import (
    ActivationsAnswer,
    ActivationsRequest,
    CoefficientsAnswer,
    CoefficientsRequest,
    ErrorAnswer,
    GenerateAnswer,
    GenerateRequest,
    LensAnswer,
    LensRequest,
    NeighboursAnswer,
    NeighboursRequest,
    NextAnswer,
    NextRequest,
    WorkerInfo,
)
from keyscope.serving.clients import unless_gone
from keyscope.serving.streams import EVENT_STREAM, Closing

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
READING: Responses = {
    **failures(400, 403, 404, 413, 422, 429, 502, 503),
    409: {"model": ErrorAnswer, "description": "The run file cannot be read, or the workers serve other weights"},
}
GENERATING: Responses = READING | {
    200: {
        "description": "Both branches; with Accept: text/event-stream, `token` events, then `done` or `error`",
        "content": {EVENT_STREAM: {}},
    }
}
router = APIRouter(prefix="/live", tags=["live"], dependencies=[needs(Role.LABELER)])  # generation costs compute


class StatusAnswer(Answer):
    """Whether a run's model can generate at the moment."""

    state: State
    detail: str
    worker: WorkerInfo | None


@router.get("/status", responses=OF_A_RUN)
async def live_status(run: Annotated[str, Query()], runs: Runs, workers: LiveWorkers) -> StatusAnswer:
    """Whether a worker with the run's weights is up, busy or down."""
    manifest = await _manifest(runs, run)
    status = await workers.status(manifest)
    return StatusAnswer(state=status.state, detail=status.detail, worker=status.worker)


@router.post("/generate", response_model=GenerateAnswer, responses=GENERATING)
async def generate(request: Request, body: GenerateRequest, runs: Runs, workers: LiveWorkers) -> Response:
    """Continue a prompt twice, unmasked and with keys masked, and a third time with the masks of `control` if there are
    any; all branches share every random draw."""
    manifest = await _manifest(runs, body.run)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        whole = await unless_gone(request, workers.generate(manifest, body))
        return Response(whole.model_dump_json(), media_type="application/json")
    wanted = for_worker(manifest, body)
    async with AsyncExitStack() as stack:

        def begin(worker: Worker) -> Awaitable[httpx.Response]:
            return stack.enter_async_context(worker.ask("generate", wanted, EVENT_STREAM))

        # The worker responds once the request's turn has come: until then another one may take it, and a refusal become
        # our status.
        answer = await unless_gone(request, workers.first_of(manifest, begin))
        return _Events(relay_events(answer), stack.pop_all())


@router.post("/activations", responses=READING)
async def activations(
    request: Request, body: ActivationsRequest, runs: Runs, workers: LiveWorkers, database: LabelsDatabase
) -> ActivationsAnswer:
    """The keys that produce one or more tokens of a text: what each contributes to the next token, how rare its
    coefficient is in the corpus, and its labels.
    """
    run = await run_in_threadpool(runs.get, body.run)
    return await unless_gone(request, read_activations(run, workers, body, database))


@router.post("/next", name="next_token", responses=READING)
async def next_token(request: Request, body: NextRequest, runs: Runs, workers: LiveWorkers) -> NextAnswer:
    """The next token of a text under each of several sets of masks, without generating."""
    return await unless_gone(request, workers.next_token(await _manifest(runs, body.run), body))


@router.post("/lens", responses=READING)
async def lens(request: Request, body: LensRequest, runs: Runs, workers: LiveWorkers) -> LensAnswer:
    """What the model would predict after each token of a text if it ended at each layer."""
    return await unless_gone(request, workers.lens(await _manifest(runs, body.run), body))


@router.post("/coefficients", responses=READING)
async def coefficients(
    request: Request, body: CoefficientsRequest, runs: Runs, workers: LiveWorkers
) -> CoefficientsAnswer:
    """The coefficients of chosen keys at every token of a text."""
    return await unless_gone(request, workers.coefficients(await _manifest(runs, body.run), body))


@router.post("/keys/neighbours", responses=READING)
async def neighbours(request: Request, body: NeighboursRequest, runs: Runs, workers: LiveWorkers) -> NeighboursAnswer:
    """The keys nearest to a key by the model's weights."""
    return await unless_gone(request, workers.neighbours(await _manifest(runs, body.run), body))


class _Events(Closing, StreamingResponse):
    def __init__(self, events: AsyncIterator[bytes], source: AsyncExitStack) -> None:
        super().__init__(events, media_type=EVENT_STREAM, headers=STREAM_HEADERS)
        self.source = source


async def _manifest(runs: Runs, run_id: str) -> Manifest:
    return (await run_in_threadpool(runs.get, run_id)).manifest
