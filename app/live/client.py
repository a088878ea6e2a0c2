"""The client of the live workers: finds the one with a run's weights and asks it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

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

CONNECT_SECONDS = 3.0
INFO_SECONDS = 5.0
FRESH_SECONDS = 2.0
"""How long a worker's /info is cached."""
PASSED_ON = {400, 404, 409, 413, 422, 429, 503}
"""Statuses of a worker's refusals that are passed on to the client unchanged."""
NOT_CONFIGURED = "no live worker is configured: start `keyscope worker` and set KEYSCOPE_WORKER_URLS"
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
        try:
            body = request.model_dump_json() if request else None
            async with self._client.stream(method, f"{self.url}/{path}", content=body, headers=headers) as response:
                if not response.is_success:
                    raise await self._refusal(response)
                yield response
        except httpx.HTTPError as error:
            self._asked = float("-inf")
            raise WorkerUnavailable(self._sentence(error)) from error

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
    """The configured live workers."""

    def __init__(self, urls: Sequence[str], token: str | None, timeout: float) -> None:
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            trust_env=False,  # HTTP_PROXY is for hosts outside, not for workers
            # generations are long, so a pool of few connections would make requests wait for each other
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=4),
        )
        self.workers = [Worker(url, self._client) for url in urls]

    async def find(self, manifest: Manifest) -> tuple[Worker, WorkerInfo]:
        """Find the least busy worker with a run's weights.

        Raises:
            WorkerUnavailable: no worker answers.
            WorkerOtherWeights: all that answer serve other weights.
        """
        found, problems = await self.all()
        wanted = manifest.model.weights_sha256
        fitting = [(worker, info) for worker, info in found if info.weights_sha256 == wanted]
        if fitting:
            return min(fitting, key=lambda pair: pair[1].waiting + pair[1].running)
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

    async def _whole(self, manifest: Manifest, path: str, wanted: BaseModel, expected: type[A]) -> A:
        worker, _ = await self.find(manifest)
        return await worker.whole(path, wanted, expected)

    async def status(self, manifest: Manifest) -> LiveStatus:
        """Whether a worker can generate with a run's model now, and which one would."""
        if not self.workers:
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
        await self._client.aclose()

    async def all(self) -> tuple[list[tuple[Worker, WorkerInfo]], list[str]]:
        """The workers that answer, each with its info, and the problems of the others."""
        answers: list[Any] = await asyncio.gather(*(worker.info() for worker in self.workers), return_exceptions=True)
        found, problems = [], []
        for worker, answer in zip(self.workers, answers, strict=True):
            match answer:
                case WorkerInfo():
                    found.append((worker, answer))
                case WorkerUnavailable():
                    problems.append(answer.detail)
                case BaseException():
                    raise answer
        return found, problems


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
