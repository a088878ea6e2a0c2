"""What app and live worker say to each other, and what the app hands on to its own clients."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from keyscope.contract.keys import KeyName, Mask, unique_masks

Branch = Literal["baseline", "masked"]
BRANCHES: tuple[Branch, Branch] = ("baseline", "masked")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class GenerateOptions(_Message):
    """A prompt, the keys to mask and how to sample; the two branches share every random draw."""

    prompt: str = Field(min_length=1, description="Text to continue, as it is: nothing is added or stripped")
    masks: list[Mask] = Field(default_factory=list)
    max_new_tokens: int = Field(48, ge=1, description="Tokens to add; the worker's limit is in its /info")
    temperature: float = Field(0.0, ge=0, le=10, allow_inf_nan=False, description="0 takes the most probable token")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the draws, one a step, shared by both branches")
    top_logprobs: int = Field(5, ge=0, le=50, description="Alternatives listed beside each token")

    def basket(self) -> list[Mask]:
        """The masks, each key once.

        Raises:
            InvalidMask: a key has two factors.
        """
        return unique_masks(self.masks)


class WorkerGenerate(GenerateOptions):
    """What the app asks of a worker."""

    weights_sha256: str | None = Field(None, description="Weights the keys belong to; another worker refuses")


class GenerateRequest(GenerateOptions):
    """What a client asks of the app."""

    run: str = Field(description="Run whose model generates")


class Alternative(_Message):
    """A token the model thought of at a step."""

    token: str
    token_hex: str | None = Field(None, description="The token's bytes, where they are not UTF-8 by themselves")
    token_id: int
    logprob: float


class GeneratedToken(Alternative):
    """The token taken at a step, with the model's log-probability of it before temperature."""

    top: list[Alternative] = Field(description="Most probable tokens, the best first")


class TokenEvent(GeneratedToken):
    """One token of one branch, as streamed."""

    branch: Branch
    index: int = Field(description="Number of the token in its branch, from 0")


class Applied(_Message):
    """What was really masked."""

    keys: int
    positions: int = Field(description="Token positions run through masked layers, prompt included")


class BranchResult(_Message):
    """One branch: the text added to the prompt, token by token."""

    text: str
    tokens: list[GeneratedToken]


class CodeBranch(_Message):
    """How one branch's continuation reads behind the prompt."""

    parses: bool = Field(description="Nothing in it is broken before its end, where it may stop in the middle")
    errors: int = Field(description="Places in it that the grammar cannot read, an unfinished end left out")
    first_error_line: int | None = Field(description="Line of the first, from 1 with the prompt's first line")


class CodeOutcome(_Message):
    """What became of the code, by a syntax tree of prompt and continuation."""

    language: str = Field(description="The one whose grammar reads the baseline best")
    baseline: CodeBranch
    masked: CodeBranch
    lost: list[str] = Field(description="Names in the baseline's continuation alone, in order")
    added: list[str] = Field(description="Names in the masked continuation alone, in order")
    invented: list[str] = Field(description="Those of them that are not in the prompt either")
    edit_distance: int = Field(description="Fewest tokens to insert, delete or replace between the continuations")


class DoneEvent(_Message):
    """The end of a stream."""

    first_divergence: int | None = Field(
        description="Index of the first differing token; null where both branches agree"
    )
    applied: Applied
    elapsed_ms: float
    text: dict[Branch, str]
    code: CodeOutcome | None = Field(None, description="null from workers that do not parse")


class GenerateAnswer(_Message):
    """The whole answer to a request that did not ask for a stream."""

    ok: Literal[True] = True
    baseline: BranchResult
    masked: BranchResult
    first_divergence: int | None
    applied: Applied
    elapsed_ms: float
    code: CodeOutcome | None = Field(None, description="null from workers that do not parse")


class Span(_Message):
    """Tokens of a text that stand side by side."""

    first: int = Field(ge=0)
    last: int = Field(ge=0, description="The last of them, itself included")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the span ends at token {self.last}, before its start at token {self.first}")
        return self


class ActivationsOptions(_Message):
    """A text, and the place in it whose keys are looked at."""

    text: str = Field(min_length=1, description="Code, as it is: nothing is added or stripped")
    token_index: int | None = Field(None, ge=0, description="Token after which to look; the text's last by default")
    span: Span | None = Field(
        None, description="Tokens to look at together instead of one: each key where its coefficient is largest in size"
    )
    layer: int | None = Field(
        None, ge=0, description="Layer after which to look, as through the logit lens; the last by default"
    )
    by_layer: bool = Field(False, description="List so many keys of each layer, rather than of all layers together")
    language: str | None = Field(None, description="Language of the text, for the nodes of its syntax tree")
    target: int | None = Field(
        None, ge=0, description="Token whose logit is split over the keys; the most probable next token by default"
    )
    distractor: int | None = Field(None, ge=0, description="Token whose logit is taken off: why the one, not the other")
    limit: int = Field(50, ge=1, le=1000, description="How many keys to list")
    order: Literal["contribution", "size"] = Field(
        "contribution", description="By what keys gave to the target, or by |coefficient| times the value's length"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.span is not None and self.token_index is not None:
            raise ValueError("give either token_index or span: they say two different places")
        return self


class WorkerActivations(ActivationsOptions):
    """What the app asks of a worker."""

    weights_sha256: str | None = Field(None, description="Weights the keys belong to; another worker refuses")


class ActivationsRequest(ActivationsOptions):
    """What a client asks of the app."""

    run: str = Field(description="Run whose model reads the text")


class TextToken(_Message):
    """One token of a text."""

    token: str
    token_hex: str | None = Field(None, description="The token's bytes, where they are not UTF-8 by themselves")
    token_id: int


class TextNode(_Message):
    """A named node of a text's syntax tree."""

    type: str
    first: int = Field(description="Its first token")
    last: int = Field(description="Its last token, itself included")
    depth: int = Field(description="Named nodes around it")


class KeyLabel(_Message):
    """What a person says of a key."""

    person: str
    kind: str
    description: str


class KeyActivity(_Message):
    """What one key did at a token."""

    key: KeyName
    token_index: int
    coefficient: float
    size: float = Field(description="|coefficient| times the value's length")
    contribution: float = Field(description="Logits the key gave to the target, less those to the distractor")
    percentile: float | None = Field(
        None, description="Share of the corpus's tokens, in %, with a smaller coefficient; only the app knows it"
    )
    labels: list[KeyLabel] = Field(default_factory=list, description="People's current labels; only the app knows them")


class ActivationsAnswer(_Message):
    """The keys behind a token, the first in the order asked for first."""

    ok: Literal[True] = True
    tokens: list[TextToken] = Field(description="The whole text, a BOS the tokenizer adds included")
    token_index: int = Field(description="Token after which the next one is predicted; of a span the last")
    span: Span | None = Field(None, description="Tokens that were looked at together")
    layer: int | None = Field(None, description="Layer after which was looked; empty for the whole model")
    next: list[Alternative] = Field(description="What the model would say next, the most probable first")
    target: Alternative
    distractor: Alternative | None
    keys: list[KeyActivity]
    nodes: list[TextNode] = Field(
        default_factory=list, description="The text's syntax tree; empty without language, or for one without grammar"
    )


class LensOptions(_Message):
    """A text, every token of which is looked at through the logit lens."""

    text: str = Field(min_length=1, description="Code, as it is: nothing is added or stripped")
    top: int = Field(10, ge=1, le=50, description="Tokens listed in each cell")
    last: int = Field(48, ge=1, le=256, description="How many of the text's last tokens to look at")


class WorkerLens(LensOptions):
    """What the app asks of a worker."""

    weights_sha256: str | None = Field(None, description="Weights it is about; another worker refuses")


class LensRequest(LensOptions):
    """What a client asks of the app."""

    run: str = Field(description="Run whose model reads the text")


class LensCell(_Message):
    """What the model would say after a token if it ended after a layer."""

    top: list[Alternative] = Field(description="The most probable tokens, the best first")
    rank: int = Field(description="Rank of the token that the whole model says there, from 1")
    logprob: float = Field(description="Log-probability of that token")


class LensAnswer(_Message):
    """A text through the logit lens; after the last layer it is what the model says."""

    ok: Literal[True] = True
    tokens: list[TextToken] = Field(description="The whole text, a BOS the tokenizer adds included")
    first: int = Field(description="Index of the first token looked at")
    cells: list[list[LensCell]] = Field(description="For each layer, from layer 0, a cell for each token looked at")


class Limits(_Message):
    """What a worker accepts."""

    prompt_tokens: int
    new_tokens: int
    masks: int
    queue: int
    body_bytes: int


class WorkerInfo(_Message):
    """Which model a worker serves and how busy it is."""

    ok: Literal[True] = True
    model_id: str
    weights_sha256: str
    n_layers: int
    keys_per_layer: list[int]
    dtype: str
    device: str
    limits: Limits
    waiting: int = Field(description="Requests queued behind the one that runs")
    running: bool
    tokens_per_second: float | None = Field(description="Rate of the last generation, both branches together")
    jobs: bool = Field(False, description="Whether it computes analyses of runs")


JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ACTIVE_JOB: tuple[JobState, ...] = ("queued", "running")


class JobOptions(_Message):
    """An analysis to compute beside a run."""

    run: str = Field(description="Run, by the name of its file without .duckdb")
    kind: str = Field(description="Analysis, such as syntax or edit")
    settings: dict[str, Any] = Field(default_factory=dict, description="Its settings; those left out have defaults")
    replace: bool = Field(False, description="Compute it anew where it is there with other settings")


class WorkerJob(JobOptions):
    """What the app asks of a worker."""

    weights_sha256: str | None = Field(None, description="Weights the run belongs to; another worker refuses")


class JobProgress(_Message):
    """How far the present stage of a job is."""

    stage: str
    done: float
    total: float | None = Field(description="null where nobody knows")
    unit: str
    rate: float | None = Field(description="Units a second; null before the first")
    seconds_left: float | None


class Job(JobOptions):
    """An analysis that was asked for, and what has become of it."""

    id: str
    part: str | None = Field(description="Tells analyses of one kind apart, where a run can have several")
    state: JobState
    ahead: int = Field(description="Jobs that come before it, while it is queued")
    progress: JobProgress | None = Field(description="Of a job that runs, once it has begun to count")
    notes: list[str] = Field(description="What the analysis had to say, the latest last")
    error: str | None = Field(description="Why it failed, in snake_case")
    detail: str | None = Field(description="Why it failed, in a sentence")
    result: str | None = Field(description="File it wrote, relative to the runs")
    submitted: datetime
    started: datetime | None
    finished: datetime | None


class JobAnswer(_Message):
    """One job."""

    ok: Literal[True] = True
    job: Job


class JobsAnswer(_Message):
    """The jobs of the workers since they were started, the latest first."""

    ok: Literal[True] = True
    jobs: list[Job]


class ErrorAnswer(_Message):
    """Every failure of every JSON endpoint, and the `error` event of a stream."""

    ok: Literal[False] = False
    error: str
    detail: str
