"""Messages between app and live worker, and between the app and its clients."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from keyscope.contract.keys import KeyName, Mask, unique_masks
from keyscope.contract.validation import check_json

Branch = Literal["baseline", "masked", "control"]
BRANCHES: tuple[Branch, Branch] = ("baseline", "masked")
"""The branches of every generation; a control is a third one."""
MOST_SETS = 64
"""Sets of masks in one request for the next token."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class _ForWeights(_Message):
    """A request that only a worker with the right weights may answer."""

    weights_sha256: str | None = Field(None, description="Weights the request is for; a worker with others refuses")


class Span(_Message):
    """Consecutive tokens of a text."""

    first: int = Field(ge=0)
    last: int = Field(ge=0, description="Last token, inclusive")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the span ends at token {self.last}, before its start at token {self.first}")
        return self


Positions = Literal["both", "prompt", "generated"] | Span
"""Tokens on which masks act: of prompt and continuation, of one of them, or a span counted from the first of the prompt."""


class GenerateOptions(_Message):
    """A prompt, the keys to mask and how to sample; all branches share every random draw."""

    prompt: str = Field(min_length=1, description="Text to continue, unchanged: nothing is added or stripped")
    masks: list[Mask] = Field(default_factory=list)
    control: list[Mask] | None = Field(
        None, description="Masks of a third branch, such as as many random keys; null: no third branch"
    )
    positions: Positions = Field(
        "both",
        description="Tokens on which masks act: both (of prompt and continuation), prompt, generated, or a span counted "
        "from the first token of the prompt, including a BOS",
    )
    max_new_tokens: int = Field(48, ge=1, description="Tokens to generate; the worker's limit is in its /info")
    temperature: float = Field(0.0, ge=0, le=10, allow_inf_nan=False, description="0 chooses the most probable token")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the random draws, one per step, shared by both branches")
    top_logprobs: int = Field(5, ge=0, le=50, description="Alternatives listed beside each token")

    def basket(self) -> list[Mask]:
        """The masks, each key once.

        Raises:
            InvalidMask: a key is masked in two ways.
        """
        return unique_masks(self.masks)

    def control_basket(self) -> list[Mask] | None:
        """The masks of the third branch, each key once; None without one.

        Raises:
            InvalidMask: a key is masked in two ways.
        """
        return None if self.control is None else unique_masks(self.control)


class WorkerGenerate(_ForWeights, GenerateOptions):
    """The app's request to a worker."""


class GenerateRequest(GenerateOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model generates")


class Alternative(_Message):
    """A candidate token at a step."""

    token: str
    token_hex: str | None = Field(None, description="The token's bytes, if they are not valid UTF-8 on their own")
    token_id: int
    logprob: float


class GeneratedToken(Alternative):
    """The token chosen at a step, with its log-probability before temperature."""

    top: list[Alternative] = Field(description="Most probable tokens, the best first")


class TokenEvent(GeneratedToken):
    """One token of one branch, as streamed."""

    branch: Branch
    index: int = Field(description="Number of the token in its branch, from 0")


class Applied(_Message):
    """What the masks acted on."""

    keys: int = Field(description="Masked keys, without those of the control")
    positions: int = Field(description="Token positions at which keys were masked, including the prompt's")


class BranchResult(_Message):
    """One branch: the text added to the prompt, token by token."""

    text: str
    tokens: list[GeneratedToken]


class CodeBranch(_Message):
    """The syntax of one branch's continuation after the prompt."""

    parses: bool = Field(description="It has no syntax errors; stopping in the middle of a construct is none")
    errors: int = Field(description="Syntax errors, except those of an unfinished end")
    first_error_line: int | None = Field(description="Line of the first error; the prompt's first line is 1")


class CodeOutcome(_Message):
    """How the two branches differ as code, from syntax trees of prompt and continuation."""

    language: str = Field(description="The language whose grammar fits the baseline best")
    baseline: CodeBranch
    masked: CodeBranch
    lost: list[str] = Field(description="Names only in the baseline's continuation, in order")
    added: list[str] = Field(description="Names only in the masked continuation, in order")
    invented: list[str] = Field(description="Added names that are not in the prompt either")
    edit_distance: int = Field(description="Levenshtein distance of the two continuations, in tokens")


class DoneEvent(_Message):
    """The end of a stream."""

    first_divergence: int | None = Field(description="Index of the first differing token; null if both branches agree")
    applied: Applied
    elapsed_ms: float
    text: dict[Branch, str] = Field(description="Text of each branch; control only if it was asked for")
    code: CodeOutcome | None = Field(None, description="null from workers that do not parse")


class GenerateAnswer(_Message):
    """The answer to a request that did not ask for a stream."""

    ok: Literal[True] = True
    baseline: BranchResult
    masked: BranchResult
    control: BranchResult | None = Field(None, description="null unless masks of a control were given")
    first_divergence: int | None
    applied: Applied
    elapsed_ms: float
    code: CodeOutcome | None = Field(None, description="null from workers that do not parse")


class ActivationsOptions(_Message):
    """A text, and the tokens in it whose keys to read."""

    text: str = Field(min_length=1, description="Code, unchanged: nothing is added or stripped")
    token_index: int | None = Field(None, ge=0, description="Token to read; by default the last")
    span: Span | None = Field(
        None, description="Tokens to read together: each key at the token where its coefficient is largest in magnitude"
    )
    layer: int | None = Field(None, ge=0, description="Layer to stop after, as in the logit lens; by default the last")
    by_layer: bool = Field(False, description="List `limit` keys of each layer, instead of `limit` keys in all")
    language: str | None = Field(None, description="Language of the text; needed for the nodes of its syntax tree")
    target: int | None = Field(
        None, ge=0, description="Token whose logit to attribute to keys; by default the most probable next token"
    )
    distractor: int | None = Field(
        None, ge=0, description="Token whose logit to subtract: why the target and not this one"
    )
    limit: int = Field(50, ge=1, le=1000, description="How many keys to list")
    order: Literal["contribution", "size"] = Field(
        "contribution", description="By contribution to the target, or by |coefficient| times the norm of the value"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.span is not None and self.token_index is not None:
            raise ValueError("give either token_index or span, not both")
        return self


class WorkerActivations(_ForWeights, ActivationsOptions):
    """The app's request to a worker."""


class ActivationsRequest(ActivationsOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model reads the text")


class TextToken(_Message):
    """One token of a text."""

    token: str
    token_hex: str | None = Field(None, description="The token's bytes, if they are not valid UTF-8 on their own")
    token_id: int


class TextNode(_Message):
    """A named node of a text's syntax tree."""

    type: str
    first: int = Field(description="Its first token")
    last: int = Field(description="Its last token, inclusive")
    depth: int = Field(description="Number of named ancestors")


class KeyLabel(_Message):
    """A person's label of a key."""

    person: str
    kind: str
    description: str


class KeyActivity(_Message):
    """One key's activity at a token."""

    key: KeyName
    token_index: int
    coefficient: float
    size: float = Field(description="|coefficient| times the norm of the value")
    contribution: float | None = Field(
        description="What the key adds to the target's logit at the last token read, minus what it adds to the "
        "distractor's; null if the architecture does not define it"
    )
    percentile: float | None = Field(
        None, description="Percentage of the corpus's tokens with a smaller coefficient; filled in by the app"
    )
    labels: list[KeyLabel] = Field(default_factory=list, description="Current labels; filled in by the app")


class ActivationsAnswer(_Message):
    """The keys behind a token, in the requested order."""

    ok: Literal[True] = True
    tokens: list[TextToken] = Field(description="All tokens of the text, including a BOS added by the tokenizer")
    token_index: int = Field(description="Token after which the model predicts; the last of a span")
    span: Span | None = Field(None, description="Tokens that were read together")
    layer: int | None = Field(None, description="Layer that the model was stopped after; null for the whole model")
    next: list[Alternative] = Field(description="Candidates for the next token, the most probable first")
    target: Alternative
    distractor: Alternative | None
    keys: list[KeyActivity]
    nodes: list[TextNode] = Field(
        default_factory=list, description="The text's syntax tree; empty without a language or a grammar for it"
    )


class NextOptions(_Message):
    """A text, and sets of masks under each of which to read the next token."""

    text: str = Field(min_length=1, description="Code, unchanged: nothing is added or stripped")
    masks: list[list[Mask]] = Field(
        min_length=1, max_length=MOST_SETS, description="Sets of masks; an empty one leaves the model as it is"
    )
    tokens: list[int] = Field(
        default_factory=list, max_length=64, description="Ids of tokens whose log-probability to give in any case"
    )
    top: int = Field(5, ge=0, le=50, description="Most probable tokens to list for each set")

    def baskets(self) -> list[list[Mask]]:
        """The sets, each key of a set once.

        Raises:
            InvalidMask: a key is masked in two ways in a set.
        """
        return [unique_masks(masks) for masks in self.masks]


class WorkerNext(_ForWeights, NextOptions):
    """The app's request to a worker."""


class NextRequest(NextOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model reads the text")


class NextBranch(_Message):
    """The next token under one set of masks; log-probabilities are before temperature."""

    top: list[Alternative] = Field(description="Most probable tokens, the best first")
    tokens: list[Alternative] = Field(description="The requested tokens, in the order of the request")


class NextAnswer(_Message):
    """The next token of a text under each set of masks, in the order of the request."""

    ok: Literal[True] = True
    branches: list[NextBranch]


class LensOptions(_Message):
    """A text to read through the logit lens."""

    text: str = Field(min_length=1, description="Code, unchanged: nothing is added or stripped")
    top: int = Field(10, ge=1, le=50, description="Tokens to list in each cell")
    last: int = Field(48, ge=1, le=256, description="How many of the last tokens to read")


class WorkerLens(_ForWeights, LensOptions):
    """The app's request to a worker."""


class LensRequest(LensOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model reads the text")


class LensCell(_Message):
    """What the model would predict after a token if it ended after a layer."""

    top: list[Alternative] = Field(description="The most probable tokens, the best first")
    rank: int = Field(description="Rank of the token that the whole model predicts there, from 1")
    logprob: float = Field(description="Log-probability of that token")


class LensAnswer(_Message):
    """A text through the logit lens; the last layer's cells are the model's own predictions."""

    ok: Literal[True] = True
    tokens: list[TextToken] = Field(description="All tokens of the text, including a BOS added by the tokenizer")
    first: int = Field(description="Index of the first token read")
    cells: list[list[LensCell]] = Field(description="For each layer, from layer 0, a cell for each token read")


class CoefficientsOptions(_Message):
    """A text, and the keys to follow through it."""

    text: str = Field(min_length=1, description="Code, unchanged: nothing is added or stripped")
    keys: list[KeyName] = Field(min_length=1, max_length=100)


class WorkerCoefficients(_ForWeights, CoefficientsOptions):
    """The app's request to a worker."""


class CoefficientsRequest(CoefficientsOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model reads the text")


class KeyCoefficients(_Message):
    """One key along a text."""

    key: KeyName
    coefficients: list[float] = Field(description="One for each token of the text")


class CoefficientsAnswer(_Message):
    """Some keys along a text, in the order they were asked for."""

    ok: Literal[True] = True
    tokens: list[TextToken] = Field(description="All tokens of the text, including a BOS added by the tokenizer")
    keys: list[KeyCoefficients]


class NeighboursOptions(_Message):
    """A key whose neighbours by weights to find."""

    key: KeyName
    limit: int = Field(10, ge=1, le=100, description="How many keys to list of each sort")


class WorkerNeighbours(_ForWeights, NeighboursOptions):
    """The app's request to a worker."""


class NeighboursRequest(NeighboursOptions):
    """A client's request to the app."""

    run: str = Field(description="Run whose model has the key")


class Neighbour(_Message):
    """A key near another one."""

    key: KeyName
    amount: float


class NeighboursAnswer(_Message):
    """The keys nearest to a key by the model's weights, those with the amount of largest size first."""

    ok: Literal[True] = True
    similar: list[Neighbour] = Field(
        description="Keys of all layers by the cosine of their value and the key's, the largest first"
    )
    upstream: list[Neighbour] = Field(
        description="Keys of earlier layers by what a unit of their coefficient adds to the key's input: value times "
        "key vector through the gain of its norm, whose scale is left out; in gated layers the gate's"
    )
    downstream: list[Neighbour] = Field(description="Keys of later layers by what a unit of the key adds to theirs")


class Limits(_Message):
    """A worker's limits."""

    prompt_tokens: int
    new_tokens: int
    masks: int
    queue: int
    body_bytes: int


class WorkerInfo(_Message):
    """The model that a worker serves, and how busy it is."""

    ok: Literal[True] = True
    model_id: str
    weights_sha256: str
    n_layers: int
    keys_per_layer: list[int]
    dtype: str
    device: str
    limits: Limits
    waiting: int = Field(description="Requests waiting in the queue")
    running: bool
    tokens_per_second: float | None = Field(description="Rate of the last generation, counting both branches")
    jobs: bool = Field(False, description="Whether it computes analyses of runs")
    forward_tokens_per_second: float | None = Field(
        None, description="Rate of a bare forward pass, in which costs of analyses are counted; null until it is timed"
    )


ANNOUNCED_SECONDS = 20.0
"""How long the server takes a worker that announced itself to be there."""


class WorkerAnnouncement(_Message):
    """What a worker tells the server, over and over, so that it is found without being configured."""

    url: str = Field(
        pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$", max_length=300, description="Address by which the server reaches it"
    )
    leaving: bool = Field(False, description="Whether it is about to end")


class AnnouncedAnswer(_Message):
    """The server knows the worker."""

    ok: Literal[True] = True
    seconds: float = Field(description="How long, unless the worker says so again")


JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ACTIVE_JOB: tuple[JobState, ...] = ("queued", "running")


class JobOptions(_Message):
    """An analysis to compute for a run."""

    run: str = Field(description="Name of the run's file without .duckdb")
    kind: str = Field(
        description="Kind of analysis, such as syntax or edit; several with commas between them are computed together"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the analysis; those left out have defaults"
    )
    replace: bool = Field(False, description="Recompute an analysis that exists with other settings")

    @field_validator("run", "kind", "settings")
    @classmethod
    def _check(cls, value: Any) -> Any:
        check_json(value)
        return value

    @property
    def kinds(self) -> list[str]:
        """The kinds of analysis."""
        return self.kind.split(",")


class WorkerJob(JobOptions):
    """The app's request to a worker."""

    weights_sha256: str | None = Field(None, description="Weights of the run; a worker with others refuses")


class JobProgress(_Message):
    """Progress of a job's current stage."""

    stage: str
    done: float
    total: float | None = Field(description="null if unknown")
    unit: str
    rate: float | None = Field(description="Units per second; null before the first")
    seconds_left: float | None


class Job(JobOptions):
    """A requested analysis and its state."""

    id: str
    part: str | None = Field(description="Distinguishes analyses of one kind, if a run can have several")
    state: JobState
    ahead: int = Field(description="Jobs before it in the queue")
    stopping: bool = Field(False, description="Whether it was told to stop and is at its last batch")
    progress: JobProgress | None = Field(
        description="Set while the job runs, from its first stage on; once it was stopped, how far it came"
    )
    notes: list[str] = Field(description="Messages of the analysis, the latest last")
    error: str | None = Field(description="Code of the error, in snake_case")
    detail: str | None = Field(description="The error in a sentence")
    result: str | None = Field(description="File that it wrote, relative to the directory of runs; the last of several")
    submitted: datetime
    started: datetime | None
    finished: datetime | None


class JobAnswer(_Message):
    """One job."""

    ok: Literal[True] = True
    job: Job


class JobsAnswer(_Message):
    """Jobs, the latest first."""

    ok: Literal[True] = True
    jobs: list[Job]


class ErrorAnswer(_Message):
    """Any failure of a JSON endpoint, and the `error` event of a stream."""

    ok: Literal[False] = False
    error: str
    detail: str
