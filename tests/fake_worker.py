"""A live worker without a model: it speaks `keyscope.contract.wire` and always generates the same tokens."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from keyscope.contract.wire import (
    ActivationsAnswer,
    Alternative,
    Applied,
    BranchResult,
    CodeBranch,
    CodeOutcome,
    CoefficientsAnswer,
    DoneEvent,
    ErrorAnswer,
    GenerateAnswer,
    GeneratedToken,
    Job,
    JobAnswer,
    JobProgress,
    JobsAnswer,
    KeyActivity,
    KeyCoefficients,
    LensAnswer,
    LensCell,
    Limits,
    Neighbour,
    NeighboursAnswer,
    NextAnswer,
    NextBranch,
    TextNode,
    TextToken,
    TokenEvent,
    WorkerActivations,
    WorkerCoefficients,
    WorkerGenerate,
    WorkerInfo,
    WorkerJob,
    WorkerLens,
    WorkerNeighbours,
    WorkerNext,
)

BASELINE = ["np", ".", "zeros", "(", "count", ")", "\n", "<b>", "&"]
MASKED = ["np", ".", "array", "(", "count", ")", "\n", "<b>", "&"]
FIRST_DIVERGENCE = 2
HALF = JobProgress(stage="analysing syntax", done=500, total=1000, unit="tokens", rate=50, seconds_left=10)
"""A job that is half done."""
TEXT = [TextToken(token=f"<{number}>", token_id=number) for number in (5, 6, 7)]
"""The tokens of every text."""
OTHER = Alternative(token="<other>", token_id=3, logprob=-1.5)
NODES = [
    TextNode(type="module", first=0, last=2, depth=0),
    TextNode(type="call", first=1, last=2, depth=1),
    TextNode(type="name", first=0, last=0, depth=1),
]


class FakeWorker:
    """The worker's app and how it behaves; tests change its fields while it runs."""

    def __init__(self, weights_sha256: str, keys_per_layer: list[int]) -> None:
        self.weights_sha256 = weights_sha256
        self.keys_per_layer = keys_per_layer
        self.pause = 0.0
        """Seconds between two tokens of a stream."""
        self.breaks_after: int | None = None
        """How many tokens of each branch a stream sends before it breaks off."""
        self.refusal: tuple[int, ErrorAnswer] | None = None
        self.running = False
        self.asked: list[WorkerGenerate] = []
        self.read: list[WorkerActivations | WorkerCoefficients | WorkerLens | WorkerNeighbours] = []
        """All requests that read the model."""
        self.next_asked: list[WorkerNext] = []
        self.next_pause = 0.0
        """Seconds before the next token is answered."""
        self.jobs: list[Job] | None = None
        """None: the worker accepts no jobs. Jobs change only when a test changes them."""
        self.app = FastAPI()
        self.app.get("/info")(self.info)
        self.app.post("/generate")(self.generate)
        self.app.post("/activations")(self.activations)
        self.app.post("/lens")(self.lens)
        self.app.post("/next")(self.next_token)
        self.app.post("/coefficients")(self.coefficients)
        self.app.post("/keys/neighbours")(self.neighbours)
        self.app.get("/jobs")(self.list_jobs)
        self.app.post("/jobs", status_code=202)(self.start_job)
        self.app.get("/jobs/{job}")(self.show_job)
        self.app.delete("/jobs/{job}")(self.cancel_job)

    def info(self) -> WorkerInfo:
        return WorkerInfo(
            model_id="toy",
            weights_sha256=self.weights_sha256,
            n_layers=len(self.keys_per_layer),
            keys_per_layer=self.keys_per_layer,
            dtype="float32",
            device="cpu",
            limits=Limits(prompt_tokens=512, new_tokens=128, masks=4096, queue=8, body_bytes=2**20),
            waiting=0,
            running=self.running,
            tokens_per_second=38.0,
            jobs=self.jobs is not None,
            forward_tokens_per_second=1000.0,
        )

    def list_jobs(self) -> JobsAnswer:
        return JobsAnswer(jobs=self.jobs or [])

    def start_job(self, body: WorkerJob) -> Response:
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        assert self.jobs is not None
        assert body.weights_sha256 == self.weights_sha256
        job = made_job(f"job{len(self.jobs)}", body)
        self.jobs.insert(0, job)
        return JSONResponse(JobAnswer(job=job).model_dump(mode="json"), 202)

    def show_job(self, job: str) -> Response:
        found = next((each for each in self.jobs or [] if each.id == job), None)
        if found is None:
            return JSONResponse(ErrorAnswer(error="unknown_job", detail=f"there is no job {job!r}").model_dump(), 404)
        return JSONResponse(JobAnswer(job=found).model_dump(mode="json"))

    def cancel_job(self, job: str) -> Response:
        self.jobs = [
            each.model_copy(update={"state": "cancelled"}) if each.id == job else each for each in self.jobs or []
        ]
        return self.show_job(job)

    async def generate(self, body: WorkerGenerate, request: Request) -> Response:
        self.asked.append(body)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        if "text/event-stream" in request.headers["accept"]:
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        return Response(_answer(body).model_dump_json(), media_type="application/json")

    def lens(self, body: WorkerLens) -> Response:
        """Three tokens; the last layer predicts token 4 after each, all others token 3."""
        self.read.append(body)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        last = len(self.keys_per_layer) - 1
        cells = [[_cell(layer == last, body.top) for _ in TEXT] for layer in range(last + 1)]
        return Response(LensAnswer(tokens=TEXT, first=0, cells=cells).model_dump_json(), media_type="application/json")

    def activations(self, body: WorkerActivations) -> Response:
        self.read.append(body)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        target = Alternative(token="<zeros>", token_id=2, logprob=-0.25)
        names = [f"L{layer}.K{index}" for layer in (1, 0) for index in range(3)][: body.limit]
        keys = [
            KeyActivity(key=name, token_index=0, coefficient=0.5, size=2.0, contribution=3.0 - number)
            for number, name in enumerate(names)
        ]
        found = ActivationsAnswer(
            tokens=TEXT,
            token_index=body.span.last if body.span else body.token_index or 0,
            span=body.span,
            layer=body.layer,
            next=[target, OTHER],
            target=target,
            distractor=None if body.distractor is None else OTHER,
            keys=keys,
            nodes=NODES if body.language == "python" else [],
        )
        return Response(found.model_dump_json(), media_type="application/json")

    async def next_token(self, body: WorkerNext) -> Response:
        """Each masked key that is behind the next token takes a tenth of its probability, others nothing."""
        self.next_asked.append(body)
        await asyncio.sleep(self.next_pause)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        branches = []
        listed = [Alternative(token="<own>", token_id=4, logprob=-0.25), OTHER]
        for masks in body.masks:
            behind = sum(mask.key.index < 3 for mask in masks)
            left = math.log(0.9**behind * 0.8)
            branches.append(
                NextBranch(
                    top=listed[: body.top],
                    tokens=[Alternative(token="<t>", token_id=each, logprob=left) for each in body.tokens],
                )
            )
        return Response(NextAnswer(branches=branches).model_dump_json(), media_type="application/json")

    def coefficients(self, body: WorkerCoefficients) -> Response:
        self.read.append(body)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        keys = [KeyCoefficients(key=key, coefficients=[0.0, -0.5, 1.5]) for key in body.keys]
        return Response(CoefficientsAnswer(tokens=TEXT, keys=keys).model_dump_json(), media_type="application/json")

    def neighbours(self, body: WorkerNeighbours) -> Response:
        self.read.append(body)
        if self.refusal is not None:
            status, answer = self.refusal
            return JSONResponse(answer.model_dump(), status)
        found = NeighboursAnswer(
            similar=[Neighbour(key="L0.K2", amount=0.75)],
            upstream=[Neighbour(key="L0.K3", amount=-0.25)],
            downstream=[Neighbour(key="L1.K4", amount=0.125)],
        )
        return Response(found.model_dump_json(), media_type="application/json")

    async def _events(self, body: WorkerGenerate) -> AsyncIterator[str]:
        answer = _answer(body)
        for index in range(len(answer.baseline.tokens)):
            if index == self.breaks_after:
                raise ConnectionAbortedError
            for branch, result in (("baseline", answer.baseline), ("masked", answer.masked)):
                token = result.tokens[index]
                yield _event("token", TokenEvent(branch=branch, index=index, **token.model_dump()).model_dump())
            await asyncio.sleep(self.pause)
        text = {"baseline": answer.baseline.text, "masked": answer.masked.text}
        done = DoneEvent(
            first_divergence=answer.first_divergence,
            applied=answer.applied,
            elapsed_ms=12.0,
            text=text,
            code=answer.code,
        )
        yield _event("done", done.model_dump())


def made_job(name: str, body: WorkerJob, **changes: object) -> Job:
    """A job that was just submitted, with some fields changed."""
    job = Job(
        **body.model_dump(exclude={"weights_sha256"}),
        id=name,
        part=None,
        state="queued",
        ahead=1,
        progress=None,
        notes=[],
        error=None,
        detail=None,
        result=None,
        submitted=datetime.now(UTC),
        started=None,
        finished=None,
    )
    return job.model_copy(update=changes)


def _answer(body: WorkerGenerate) -> GenerateAnswer:
    masked = MASKED if body.masks else BASELINE
    return GenerateAnswer(
        baseline=_branch(BASELINE),
        masked=_branch(masked),
        control=None if body.control is None else _branch(BASELINE),
        first_divergence=FIRST_DIVERGENCE if body.masks else None,
        applied=Applied(keys=len(body.masks), positions=9),
        elapsed_ms=12.0,
        code=CodeOutcome(
            language="python",
            baseline=CodeBranch(parses=True, errors=0, first_error_line=None),
            masked=CodeBranch(
                parses=not body.masks, errors=len(body.masks), first_error_line=2 if body.masks else None
            ),
            lost=["zeros"] if body.masks else [],
            added=["<array>"] if body.masks else [],
            invented=["<array>"] if body.masks else [],
            edit_distance=1 if body.masks else 0,
        ),
    )


def _branch(tokens: list[str]) -> BranchResult:
    return BranchResult(text="".join(tokens), tokens=[_token(token) for token in tokens])


def _token(token: str) -> GeneratedToken:
    numbers = {text: number for number, text in enumerate(dict.fromkeys([*BASELINE, *MASKED]))}
    other = "array" if token == "zeros" else "zeros"
    top = [
        Alternative(token=token, token_id=numbers[token], logprob=-0.25),
        Alternative(token=other, token_id=numbers[other], logprob=-2.0),
    ]
    return GeneratedToken(token=token, token_id=numbers[token], logprob=-0.25, top=top)


def _cell(last: bool, top: int) -> LensCell:
    listed = [Alternative(token="<own>", token_id=4, logprob=-0.5), OTHER]
    return LensCell(top=(listed if last else listed[::-1])[:top], rank=1 if last else 2, logprob=-0.5)


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
