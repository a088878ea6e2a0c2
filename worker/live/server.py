"""The live worker's HTTP server."""

import logging
import math
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import (
    ActivationsAnswer,
    Branch,
    BranchResult,
    CoefficientsAnswer,
    DoneEvent,
    ErrorAnswer,
    GenerateAnswer,
    GeneratedToken,
    LensAnswer,
    NeighboursAnswer,
    NextAnswer,
    TokenEvent,
    WorkerActivations,
    WorkerCoefficients,
    WorkerGenerate,
    WorkerInfo,
    WorkerLens,
    WorkerNeighbours,
    WorkerNext,
)
from keyscope.serving.answers import error_answer
from keyscope.serving.bodies import WholeBody
from keyscope.serving.clients import unless_gone
from keyscope.serving.openapi import operation_id
from keyscope.serving.requests import NameRequests
from keyscope.serving.streams import EVENT_STREAM, Closing
from keyscope.worker.live import answers, job_routes
from keyscope.worker.live.activations import ActivationReader
from keyscope.worker.live.admission import Admission
from keyscope.worker.live.announcing import announced
from keyscope.worker.live.coefficients import CoefficientsReader
from keyscope.worker.live.engine import Engine
from keyscope.worker.live.errors import WorkerStopping
from keyscope.worker.live.generation import Generator
from keyscope.worker.live.guard import HostGuard, TokenGuard
from keyscope.worker.live.jobs import Jobs
from keyscope.worker.live.lens import LensReader
from keyscope.worker.live.metrics import Metrics
from keyscope.worker.live.neighbours import NeighboursFinder
from keyscope.worker.live.next_token import NextReader
from keyscope.worker.live.openapi import describe
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.live.ticket import Work
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model

log = logging.getLogger(__name__)

DESCRIPTION = "One code language model that continues prompts with and without masked keys."
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {
        "model": ErrorAnswer,
        "description": "The body is not JSON in UTF-8, or the prompt or the number of new tokens is over a limit",
    },
    401: {"model": ErrorAnswer, "description": "The token is missing or wrong"},
    409: {"model": ErrorAnswer, "description": "The worker serves other weights"},
    413: {"model": ErrorAnswer, "description": "Too many masks, or the body is too large"},
    422: {"model": ErrorAnswer, "description": "A field is wrong, or a key does not exist or is masked in two ways"},
    429: {"model": ErrorAnswer, "description": "The queue is full; Retry-After says when to retry"},
    500: {"model": ErrorAnswer, "description": "The masks did not act, or the worker failed"},
    503: {
        "model": ErrorAnswer,
        "description": "The turn did not come in time, or memory ran out; Retry-After says when to retry",
    },
}

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)
Event = TokenEvent | DoneEvent
router = APIRouter()


class Health(BaseModel):
    """The worker accepts requests."""

    ok: Literal[True] = True


@dataclass(frozen=True, slots=True)
class Service:
    """A loaded model and everything that serves it."""

    model: CodeModel
    generator: Generator
    reader: ActivationReader
    lens: LensReader
    next_token: NextReader
    coefficients: CoefficientsReader
    neighbours: NeighboursFinder
    admission: Admission
    engine: Engine
    jobs: Jobs
    metrics: Metrics

    async def admit(self, check: Callable[[B], T], body: B) -> T:
        """Check a request by one of the admission's methods; a refusal is counted."""
        try:
            return await run_in_threadpool(check, body)
        except KeyscopeError as error:
            self.metrics.ended(error.code)
            raise


def create_worker_app(settings: WorkerSettings, exit_process: Callable[[int], object] = os._exit) -> FastAPI:
    """Return the application that serves `settings.model`; it loads the model when it starts.

    `exit_process` is called with an exit status when the device fails and only a new process can continue.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        model = await run_in_threadpool(load_model, settings.source)
        metrics = Metrics()
        engine = Engine(settings.queue, settings.queue_timeout, metrics, exit_process)
        generator = Generator(model)
        text = generator.text
        reader, lens, next_token = ActivationReader(model, text), LensReader(model, text), NextReader(model, text)
        admission = Admission(model, text, settings)
        jobs = Jobs(model, engine, settings.runs, settings.jobs)
        coefficients, neighbours = CoefficientsReader(model, text), NeighboursFinder(model)
        app.state.service = Service(
            model, generator, reader, lens, next_token, coefficients, neighbours, admission, engine, jobs, metrics
        )
        engine.start()
        jobs.start()
        log.info("serving %s in %s on %s", model.facts.model_id, model.dtype, model.device)
        async with announced(settings):
            yield
        await run_in_threadpool(jobs.close)
        engine.close()

    app = FastAPI(
        title="Keyscope worker",
        description=DESCRIPTION,
        version=version("keyscope"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
        middleware=[Middleware(NameRequests), _guard(settings), Middleware(WholeBody, limit=settings.body_bytes)],
    )
    app.include_router(router)
    app.include_router(job_routes.router)
    answers.install(app)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app


def _guard(settings: WorkerSettings) -> Middleware:
    if settings.token is None:
        return Middleware(HostGuard)
    token = settings.token.get_secret_value()
    return Middleware(TokenGuard, token=token, open_paths={router.url_path_for("healthz")})


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


@router.get("/healthz", responses={503: {"model": ErrorAnswer}})
async def healthz(service: ServiceOf) -> Health:
    """Whether the worker accepts requests; needs no token."""
    if not service.engine.alive:
        raise WorkerStopping("the worker is shutting down", retry_after=5)
    return Health()


@router.get("/info", responses={401: _REFUSALS[401]})
async def info(service: ServiceOf) -> WorkerInfo:
    """The served model, its limits and how busy the worker is."""
    facts = service.model.facts
    return WorkerInfo(
        model_id=facts.model_id,
        weights_sha256=facts.weights_sha256,
        n_layers=facts.n_layers,
        keys_per_layer=facts.keys_per_layer,
        dtype=str(service.model.dtype).removeprefix("torch."),
        device=str(service.model.device),
        limits=service.admission.limits,
        waiting=service.engine.waiting,
        running=service.engine.running,
        tokens_per_second=service.engine.events_per_second,
        jobs=service.jobs.open,
        forward_tokens_per_second=service.jobs.forward_rate,
    )


@router.get("/metrics", response_class=Response)
async def metrics(service: ServiceOf) -> Response:
    """Counters and durations in Prometheus format."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.post("/generate", response_model=GenerateAnswer, responses=_REFUSALS)
async def generate(body: WorkerGenerate, request: Request, service: ServiceOf) -> Any:
    """Continue a prompt twice: unmasked, and with the coefficients of masked keys multiplied by their factors; a third
    time with the masks of `control`, if there are any.

    With `Accept: text/event-stream` the answer is a stream: a `token` event for each token of either branch, then one
    `done` or `error` event; errors before the first token are answered with their status instead. The token that ends
    a branch is listed with its log-probability but is not part of the branch's text.
    """
    task = await service.admit(service.admission.admit, body)
    ticket = service.engine.submit(partial(service.generator.run, task), size=len(task.rows) * task.new_tokens)
    async with AsyncExitStack() as at_end:
        at_end.callback(service.engine.cancel, ticket)
        await unless_gone(request, service.engine.turn(ticket))
        events = aiter(ticket)
        first = await unless_gone(request, anext(events))
        if EVENT_STREAM in request.headers.get("accept", ""):
            return _Events(_server_sent(first, events), at_end.pop_all())
        return await unless_gone(request, _whole_answer(first, events))


@router.post("/activations", responses=_REFUSALS)
async def activations(body: WorkerActivations, request: Request, service: ServiceOf) -> ActivationsAnswer:
    """The keys behind a token of a text, and the exact contribution of each to the next token."""
    task = await service.admit(service.admission.admit_text, body)
    return await _one_answer(request, service.engine, partial(service.reader.run, task))


@router.post("/lens", responses=_REFUSALS)
async def lens(body: WorkerLens, request: Request, service: ServiceOf) -> LensAnswer:
    """What the model would predict after each token of a text if it ended after each layer."""
    task = await service.admit(service.admission.admit_lens, body)
    return await _one_answer(request, service.engine, partial(service.lens.run, task))


@router.post("/next", name="next_token", responses=_REFUSALS)
async def next_token(body: WorkerNext, request: Request, service: ServiceOf) -> NextAnswer:
    """The next token of a text under each of several sets of masks, without generating."""
    task = await service.admit(service.admission.admit_next, body)
    return await _one_answer(request, service.engine, partial(service.next_token.run, task))


@router.post("/coefficients", responses=_REFUSALS)
async def coefficients(body: WorkerCoefficients, request: Request, service: ServiceOf) -> CoefficientsAnswer:
    """The coefficients of chosen keys at every token of a text."""
    task = await service.admit(service.admission.admit_coefficients, body)
    return await _one_answer(request, service.engine, partial(service.coefficients.run, task))


@router.post("/keys/neighbours", responses=_REFUSALS)
async def neighbours(body: WorkerNeighbours, request: Request, service: ServiceOf) -> NeighboursAnswer:
    """The keys nearest to a key by the weights: similar values, keys that write what it reads, keys that read what it writes."""
    task = await service.admit(service.admission.admit_neighbours, body)
    return await _one_answer(request, service.engine, partial(service.neighbours.run, task))


async def _one_answer(request: Request, engine: Engine, work: Work[T]) -> T:
    """Queue work that has a single event, and return it."""
    ticket = engine.submit(work, size=1)
    async with AsyncExitStack() as at_end:
        at_end.callback(engine.cancel, ticket)
        await unless_gone(request, engine.turn(ticket))
        return await unless_gone(request, anext(aiter(ticket)))


class _Events(Closing, EventSourceResponse):
    def __init__(self, content: AsyncIterator[dict[str, str]], source: AsyncExitStack) -> None:
        # by itself it would end at once when the server is to end; it may go on for as long as other requests
        super().__init__(content, sep="\n", shutdown_grace_period=math.inf)
        self.source = source


async def _server_sent(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[dict[str, str]]:
    yield _sent(first)
    try:
        async for event in rest:
            yield _sent(event)
    except KeyscopeError as error:
        yield {"event": "error", "data": error_answer(error).model_dump_json()}


def _sent(event: Event) -> dict[str, str]:
    return {"event": "done" if isinstance(event, DoneEvent) else "token", "data": event.model_dump_json()}


async def _whole_answer(first: Event, rest: AsyncIterator[Event]) -> GenerateAnswer:
    tokens: defaultdict[Branch, list[GeneratedToken]] = defaultdict(list)
    event = first
    while isinstance(event, TokenEvent):
        tokens[event.branch].append(GeneratedToken.model_validate(event.model_dump(exclude={"branch", "index"})))
        event = await anext(rest)
    return GenerateAnswer(
        baseline=BranchResult(text=event.text["baseline"], tokens=tokens["baseline"]),
        masked=BranchResult(text=event.text["masked"], tokens=tokens["masked"]),
        control=BranchResult(text=event.text["control"], tokens=tokens["control"]) if "control" in event.text else None,
        first_divergence=event.first_divergence,
        applied=event.applied,
        elapsed_ms=event.elapsed_ms,
        code=event.code,
    )
