"""The client of the live workers: finds the one with a run's weights and asks it, or another if that one is gone."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from keyscope.app.live.directory import Directory
from keyscope.app.queries import check_model_key
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId
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
    WorkerActivations,
    WorkerCoefficients,
    WorkerGenerate,
    WorkerInfo,
    WorkerLens,
    WorkerNeighbours,
    WorkerNext,
)
from keyscope.serving.requests import id_headers

CONNECT_SECONDS = 3.0
INFO_SECONDS = 5.0
FRESH_SECONDS = 2.0
"""How long a worker's /info is cached."""
PATIENCE_SECONDS = 0.5
"""How long those that answer wait for those that do not: a machine that is gone does not even refuse."""
ELSEWHERE = {"queue_full", "worker_stopping"}
"""Refusals that say nothing of the request: another worker may take it."""
PASSED_ON = {400, 404, 409, 413, 422, 429, 503}
"""Statuses of a worker's refusals that are passed on to the client unchanged."""
NOT_CONFIGURED = "no live worker is configured: start `keyscope worker` and set KEYSCOPE_WORKER_URLS"
T = TypeVar("T")
A = TypeVar("A", bound=BaseModel)
W = TypeVar("W", bound=BaseModel)
Method = Literal["GET", "POST", "DELETE"]
State = Literal["up", "busy", "down", "other_weights", "not_configured"]


class WorkerUnavailable(KeyscopeError, status=503):
    """No live worker answers."""

    retry_after = 5


class WorkerOtherWeights(KeyscopeError, status=409):
    """Live workers answer, but none serves the run's weights."""


class WorkerFailed(KeyscopeError, status=502):
    """A worker failed, or its answer cannot be read."""


class WorkerRefused(KeyscopeError, code="error"):
    """A worker's refusal, with its code, sentence and status."""

    def __init__(self, status: int, answer: ErrorAnswer, retry_after: str | None) -> None:
        super().__init__(answer.detail)
        self.status = status
        self.code = answer.error
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """Whether a worker can generate with a run's model now."""

    state: State
    detail: str
    worker: WorkerInfo | None = None


class Worker:
    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url.rstrip("/")
        self._client = client
        self._info: WorkerInfo | None = None
        self._problem = ""
        self._asked = float("-inf")
        self._lock = asyncio.Lock()
        self._under_way = 0

    def load(self, info: WorkerInfo) -> int:
        """How many requests it has to serve, by its /info or, where that is older, by those sent from here."""
        return max(info.waiting + info.running, self._under_way)

    async def info(self) -> WorkerInfo:
        """The worker's /info, at most a few seconds old.

        Raises:
            WorkerUnavailable: it does not answer, or is not a worker.
        """
        async with self._lock:
            if time.monotonic() - self._asked > FRESH_SECONDS:
                self._info, self._problem = await self._ask()
                self._asked = time.monotonic()
        if self._info is None:
            raise WorkerUnavailable(self._problem)
        return self._info

    @asynccontextmanager
    async def ask(
        self, path: str, request: BaseModel | None, accept: str, method: Method = "POST"
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield the response with its body unread.

        Leaving the block early closes the connection, which stops the worker's work.

        Raises:
            WorkerRefused: the worker refused and gave a reason.
            WorkerUnavailable: it does not answer.
            WorkerFailed: it failed, or refused without a reason.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity", "Content-Type": "application/json"}
        headers |= id_headers()
        self._under_way += 1
        try:
            body = request.model_dump_json() if request else None
            async with self._client.stream(method, f"{self.url}/{path}", content=body, headers=headers) as response:
                if not response.is_success:
                    raise await self._refusal(response)
                yield response
        except httpx.HTTPError as error:
            self._asked = float("-inf")
            raise WorkerUnavailable(self._sentence(error)) from error
        finally:
            self._under_way -= 1

    async def whole(self, path: str, request: BaseModel | None, expected: type[A], method: Method = "POST") -> A:
        """Send a request and read the whole answer as the expected model.

        Raises:
            WorkerRefused, WorkerUnavailable, WorkerFailed: as for `ask`.
            WorkerFailed: the answer is something else.
        """
        async with self.ask(path, request, "application/json", method) as answer:
            content = await answer.aread()
        try:
            return expected.model_validate_json(content)
        except ValidationError as error:
            raise WorkerFailed(
                "the live worker's answer cannot be read: its version may differ from the server's"
            ) from error

    async def _ask(self) -> tuple[WorkerInfo | None, str]:
        try:
            response = await self._client.get(f"{self.url}/info", timeout=INFO_SECONDS)
            if response.status_code != 200:
                return None, str(await self._refusal(response))
            return WorkerInfo.model_validate_json(response.content), ""
        except ValidationError:
            return None, f"{self.url} is not a live worker of this version: check KEYSCOPE_WORKER_URLS"
        except httpx.HTTPError as error:
            return None, self._sentence(error)

    async def _refusal(self, response: httpx.Response) -> KeyscopeError:
        body = await response.aread()
        if response.status_code in (401, 403):
            return WorkerFailed(
                f"the live worker at {self.url} refuses our token: set KEYSCOPE_WORKER_TOKEN to the worker's"
            )
        try:
            answer = ErrorAnswer.model_validate_json(body)
        except ValidationError:
            return WorkerFailed(
                f"the live worker at {self.url} answered {response.status_code} without giving a reason"
            )
        if response.status_code in PASSED_ON:
            return WorkerRefused(response.status_code, answer, response.headers.get("Retry-After"))
        return WorkerFailed(f"the live worker at {self.url} failed: {answer.detail}")

    def _sentence(self, error: httpx.HTTPError) -> str:
        cause = str(error) or type(error).__name__
        return f"the live worker at {self.url} does not answer ({cause}): start it with `keyscope worker`"


class Workers:
    """The live workers of a directory."""

    def __init__(self, directory: Directory, token: str | None, timeout: float) -> None:
        self._directory = directory
        self._known: dict[str, Worker] = {}
        self._asking: set[asyncio.Future[WorkerInfo]] = set()
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            trust_env=False,  # HTTP_PROXY is for hosts outside, not for workers
            # generations are long, so a pool of few connections would make requests wait for each other
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=4),
        )

    @property
    def expected(self) -> bool:
        """Whether there are workers, or there may be some."""
        return self._directory.expected

    async def find(self, manifest: Manifest, but: Collection[Worker] = ()) -> tuple[Worker, WorkerInfo]:
        """Find the least busy worker with a run's weights, leaving some out.

        Raises:
            WorkerUnavailable: no worker answers.
            WorkerOtherWeights: all that answer serve other weights.
        """
        found, problems = await self.all()
        wanted = manifest.model.weights_sha256
        fitting = [(worker, info) for worker, info in found if info.weights_sha256 == wanted]
        if fitting := [pair for pair in fitting if pair[0] not in but]:
            return min(fitting, key=lambda pair: pair[0].load(pair[1]))
        if found:
            served = ", ".join(f"{info.model_id} ({info.weights_sha256[:8]})" for _, info in found)
            raise WorkerOtherWeights(
                f"no live worker serves the weights of {manifest.run_id}, {manifest.model.model_id} ({wanted[:8]}): "
                f"those that answer have {served}; start `keyscope worker` with the run's model"
            )
        raise WorkerUnavailable("; ".join(problems) or NOT_CONFIGURED)

    async def generate(self, manifest: Manifest, body: GenerateRequest) -> GenerateAnswer:
        """Generate both branches and wait until they are complete.

        Raises:
            UnknownLayer, UnknownKey: the run lacks a masked key.
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused: nothing was generated.
            WorkerFailed: the answer cannot be read.
        """
        wanted = for_worker(manifest, body)
        return await self._whole(manifest, "generate", wanted, GenerateAnswer)

    async def activations(self, manifest: Manifest, body: ActivationsRequest) -> ActivationsAnswer:
        """Read the keys behind a token of a text; raises what `lens` does."""
        wanted = _of_weights(WorkerActivations, manifest, body)
        return await self._whole(manifest, "activations", wanted, ActivationsAnswer)

    async def next_token(self, manifest: Manifest, body: NextRequest) -> NextAnswer:
        """Read the next token of a text under sets of masks.

        Raises:
            UnknownLayer, UnknownKey: the run lacks a masked key.
            InvalidMask: a key is masked in two ways in a set.
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused: nothing was read.
            WorkerFailed: the answer cannot be read.
        """
        masks = body.baskets()
        for mask in chain.from_iterable(masks):
            check_model_key(manifest, mask.key)
        wanted = _of_weights(WorkerNext, manifest, body, masks=masks)
        return await self._whole(manifest, "next", wanted, NextAnswer)

    async def lens(self, manifest: Manifest, body: LensRequest) -> LensAnswer:
        """Read a text through the logit lens.

        Raises:
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused: nothing was read.
            WorkerFailed: the answer cannot be read.
        """
        wanted = _of_weights(WorkerLens, manifest, body)
        return await self._whole(manifest, "lens", wanted, LensAnswer)

    async def coefficients(self, manifest: Manifest, body: CoefficientsRequest) -> CoefficientsAnswer:
        """Read keys along a text; raises what `lens` does, and UnknownLayer or UnknownKey if the run lacks one."""
        for key in body.keys:
            check_model_key(manifest, KeyId.parse(key))
        wanted = _of_weights(WorkerCoefficients, manifest, body)
        return await self._whole(manifest, "coefficients", wanted, CoefficientsAnswer)

    async def neighbours(self, manifest: Manifest, body: NeighboursRequest) -> NeighboursAnswer:
        """Find the keys nearest to one by the weights; raises what `coefficients` does."""
        check_model_key(manifest, KeyId.parse(body.key))
        wanted = _of_weights(WorkerNeighbours, manifest, body)
        return await self._whole(manifest, "keys/neighbours", wanted, NeighboursAnswer)

    async def first_of(self, manifest: Manifest, ask: Callable[[Worker], Awaitable[T]]) -> T:
        """Ask the least busy worker with a run's weights; if it dies, stops or is full before it answers, the next one.

        Only for requests that read the model: they may be made twice.

        Raises:
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: none answered.
        """
        tried: list[Worker] = []
        failure: KeyscopeError | None = None
        while True:
            try:
                worker, _ = await self.find(manifest, but=tried)
            except (WorkerUnavailable, WorkerOtherWeights) as error:
                raise failure or error from None
            try:
                return await ask(worker)
            except WorkerRefused as refusal:
                if refusal.code not in ELSEWHERE:
                    raise
                failure = refusal
            except WorkerUnavailable as error:
                failure = error
            tried.append(worker)

    async def _whole(self, manifest: Manifest, path: str, wanted: BaseModel, expected: type[A]) -> A:
        return await self.first_of(manifest, lambda worker: worker.whole(path, wanted, expected))

    async def status(self, manifest: Manifest) -> LiveStatus:
        """Whether a worker can generate with a run's model now, and which one would."""
        if not (await self._directory.urls() or self._directory.problems):
            return LiveStatus("not_configured", NOT_CONFIGURED)
        try:
            _, info = await self.find(manifest)
        except WorkerOtherWeights as error:
            return LiveStatus("other_weights", error.detail)
        except WorkerUnavailable as error:
            return LiveStatus("down", error.detail)
        if info.running or info.waiting:
            return LiveStatus("busy", f"the worker is busy, {info.waiting} requests are waiting", info)
        return LiveStatus("up", f"{info.model_id} is ready on {info.device}", info)

    async def close(self) -> None:
        for each in self._asking:
            each.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._client.aclose()

    async def at(self, url: str) -> Worker | None:
        """The worker at an address; None if the directory has none there."""
        return next((worker for worker in await self._all() if worker.url == url), None)

    async def all(self) -> tuple[list[tuple[Worker, WorkerInfo]], list[str]]:
        """The workers that answer, each with its info, and the problems of the others."""
        workers = await self._all()
        asked = {asyncio.ensure_future(worker.info()): worker for worker in workers}
        self._asking |= asked.keys()
        for each in asked:
            each.add_done_callback(self._answered)
        pending: set[asyncio.Future[WorkerInfo]] = set(asked)
        if len(asked) > 1:
            _, pending = await asyncio.wait(asked, timeout=PATIENCE_SECONDS)
        if pending and not any(each.exception() is None for each in asked.keys() - pending):
            await asyncio.wait(pending)
        found, problems = [], self._directory.problems
        for each, worker in asked.items():
            if not each.done():
                problems.append(f"the live worker at {worker.url} has not answered yet")
            elif isinstance(error := each.exception(), WorkerUnavailable):
                problems.append(error.detail)
            else:
                found.append((worker, each.result()))
        return found, problems

    async def _all(self) -> list[Worker]:
        urls = await self._directory.urls()
        self._known = {url: self._known.get(url) or Worker(url, self._client) for url in urls}
        return list(self._known.values())

    def _answered(self, asked: "asyncio.Future[WorkerInfo]") -> None:
        self._asking.discard(asked)
        if not asked.cancelled():
            asked.exception()  # whoever waits for it raises it, unless the request has been answered by then


def for_worker(manifest: Manifest, body: GenerateRequest) -> WorkerGenerate:
    """Turn a client's request into one for a worker.

    Raises:
        UnknownLayer, UnknownKey: the run lacks a masked key.
        InvalidMask: a key is masked in two ways.
    """
    masks, control = body.basket(), body.control_basket()
    for mask in (*masks, *(control or ())):
        check_model_key(manifest, mask.key)
    return _of_weights(WorkerGenerate, manifest, body, masks=masks, control=control)


def _of_weights(kind: type[W], manifest: Manifest, body: BaseModel, **checked: object) -> W:
    """A client's request as a worker takes it: about the run's weights, with what was checked in place of what was sent."""
    options = body.model_dump(exclude={"run", *checked})
    return kind(**options, **checked, weights_sha256=manifest.model.weights_sha256)
