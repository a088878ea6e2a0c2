"""The JSON shapes of answers about runs, layers and keys."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from keyscope.app.labels.models import Evidence, Kind
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ErrorAnswer

Value = float | int | str | bool | None
Key = Annotated[str, BeforeValidator(lambda key: str(key) if isinstance(key, KeyId) else key)]
"""The name of a key; made from a `KeyId` too."""
Responses = dict[int | str, dict[str, Any]]
_FAILURES = {
    400: "The body is not JSON in UTF-8, or the prompt or the number of new tokens is over the worker's limit",
    401: "Where people sign in: no token, or an invalid one",
    403: "A page of another site requests a change, or the role does not allow it",
    404: "It does not exist; the detail says what does",
    409: "The run file cannot be read, an analysis it needs is not computed, or somebody else changed the same thing first",
    413: "The body is too large, or there are too many masks",
    422: "A parameter or a field has an invalid value",
    429: "The worker's queue is full; Retry-After says when to try again",
    502: "The worker failed",
    503: "A database or a worker is unavailable; Retry-After says when to try again",
}


def failures(*statuses: int) -> Responses:
    """The failures of an endpoint, for its OpenAPI description."""
    return {status: {"model": ErrorAnswer, "description": _FAILURES[status]} for status in statuses}


def files(*media_types: str) -> Responses:
    """A response that is a file of one of these media types."""
    return {200: {"description": "The file", "content": {media_type: {} for media_type in media_types}}}


RUN_FILE = "application/vnd.duckdb"
"""Media type of a run file."""
OF_A_RUN = failures(404, 409, 422)
"""The failures that every endpoint about a run can give."""


class Shape(BaseModel):
    """A body, or a part of an answer; `model_validate` reads it from objects with the same attributes."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, protected_namespaces=())


class Answer(BaseModel):
    """What every answer begins with."""

    ok: Literal[True] = True


class RunSummary(Shape):
    """One run in a list."""

    run_id: str
    model_id: str
    n_layers: int
    n_keys: int = Field(description="Keys of all layers together")
    keys_per_layer: list[int]
    languages: list[str]
    k: int = Field(description="Triggers kept per key, language and polarity")
    corpus: str
    weights_sha256: str

    @classmethod
    def of(cls, run_id: str, manifest: Manifest) -> "RunSummary":
        return cls(
            run_id=run_id,
            model_id=manifest.model.model_id,
            n_layers=manifest.model.n_layers,
            n_keys=manifest.n_keys,
            keys_per_layer=manifest.model.keys_per_layer,
            languages=manifest.languages,
            k=manifest.settings.top_k,
            corpus=manifest.corpus.name,
            weights_sha256=manifest.model.weights_sha256,
        )


class UnreadableFile(Shape):
    """A file in the runs directory that cannot be read."""

    run_id: str
    reason: str


class RunsAnswer(Shape, Answer):
    """All runs."""

    runs: list[RunSummary]
    unreadable: list[UnreadableFile]


class RunAnswer(RunSummary, Answer):
    """One run with its whole manifest."""

    manifest: Manifest


class LayerShape(Shape):
    """Statistics of one layer."""

    layer: int
    n_keys: int
    dead: int = Field(description="Keys never above 0 on the whole corpus")
    languages: dict[str, float] = Field(description="Share of the live keys that fire most often in each language")
    mean_firing_rate: float | None
    median_firing_rate: float | None
    mean_kurtosis: float | None
    median_kurtosis: float | None
    median_maximum: float | None
    contribution: float | None = Field(description="Sum over the keys of mean |coefficient| times value length")


class LayersAnswer(Shape, Answer):
    """All layers of a run."""

    layers: list[LayerShape]


class TokenShape(Shape):
    """One token of the vocabulary."""

    token: str = Field(description="The token's text; bytes that are not valid UTF-8 on their own become U+FFFD")
    token_hex: str | None = Field(description="The token's bytes in hex, if they are not valid UTF-8 on their own")
    token_id: int


class TokenLogitShape(TokenShape):
    """A token and what the value adds to its logit per unit of coefficient."""

    logit: float


class TokenCountShape(TokenShape):
    """A token and its count among the stored triggers and samples with a coefficient above 0."""

    count: int


class CodeLineShape(TokenShape):
    """A trigger in its line of code, before + text + after; after a line break, the next line follows."""

    language: str
    coefficient: float
    path: str
    line: int = Field(description="From 1")
    column: int = Field(description="In characters, from 0")
    before: str
    text: str
    after: str


class KeyInTable(Shape):
    """One key in a list."""

    key: str
    layer: int
    index: int
    stats: dict[str, Value]
    top_trigger: CodeLineShape | None
    promoted: list[TokenLogitShape]


class LayerKeysAnswer(Shape, Answer):
    """A page of a layer's keys."""

    layer: int
    total: int = Field(description="Keys that pass the filter, on all pages")
    sort: str
    order: Literal["asc", "desc"]
    limit: int
    offset: int
    keys: list[KeyInTable]


class FoundKey(KeyInTable):
    """A key found by a search."""

    measures: dict[str, float | int | None] = Field(
        description="The values that the criteria measured: fires_on, promoted_logit, promoted_rank, suppressed_logit, suppressed_rank"
    )


class SearchAnswer(Shape, Answer):
    """A page of the keys that a search found."""

    total: int = Field(description="Keys found, on all pages")
    by_layer: list[int] = Field(description="Number of keys found per layer, from layer 0")
    unknown_tokens: list[str] = Field(description="Tokens asked for that the tokenizer does not have")
    sequence_checked: int | None = Field(
        None, description="With `sequence`, the keys whose triggers were read: those that fire most on its tokens"
    )
    sequence_candidates: int | None = Field(
        None, description="With `sequence`, all keys that fire on one of its tokens"
    )
    sort: str
    order: Literal["asc", "desc"]
    limit: int
    offset: int
    keys: list[FoundKey]


class ExampleShape(Shape):
    """A window position; the lists have one entry per token of the window."""

    language: str
    rank: int = Field(description="From 1")
    coefficient: float
    source: str
    path: str
    file_sha256: str
    line: int = Field(description="Line of the trigger token in its file, from 1")
    column: int = Field(description="Column of the trigger token in characters, from 0")
    start: int = Field(description="Index of the window's first token in its file, not counting BOS")
    trigger_index: int = Field(description="Index of the trigger token in the lists")
    token_ids: list[int]
    tokens: list[str]
    token_hex: list[str | None]
    coefficients: list[float | None] = Field(description="null outside the stored context")


class PlaceShape(Shape):
    """A place in a file of the corpus."""

    source: str
    path: str
    line: int = Field(description="From 1")
    column: int = Field(description="From 0, in characters")


class TriggerShape(ExampleShape):
    """A window position where the key's coefficient is among its highest or lowest."""

    polarity: Literal["max", "min"]
    files: int | None = Field(
        description="Files in which the same tokens lead up to the trigger; null in a run that did not count them"
    )
    places: list[PlaceShape] = Field(description="Places in further ones of these files, the strongest first")


class SampleShape(ExampleShape):
    """A window drawn from a band of the key's largest coefficients."""

    band: str
    quantile: float | None = Field(description="Share of windows with a smaller largest coefficient")


class ValueTokensShape(Shape):
    """The tokens a value promotes and suppresses, the strongest first."""

    promoted: list[TokenLogitShape]
    suppressed: list[TokenLogitShape]


class HistogramShape(Shape):
    """Counts per bin of one language's coefficients; bin i is between edges i and i+1."""

    language: str
    tokens: list[int] = Field(description="Sampled tokens per bin")
    windows: list[int] = Field(description="Windows per bin, by their largest coefficient")


class NeighboursShape(Shape):
    """The keys next to a key in its layer, and those with its index in the layers below and above."""

    previous: Key | None
    next: Key | None
    below: Key | None
    above: Key | None


class LabelShape(Shape):
    """One person's label of a key."""

    id: int
    person: str
    key: Key
    kind: Kind
    description: str
    confidence: float | None
    tags: list[str]
    evidence: list[Evidence]
    created_at: datetime
    current: bool = Field(description="Neither replaced by a later label of the same person nor taken back")
    superseded_at: datetime | None
    retracted: bool = Field(description="Taken back by the person without a replacement")


class KeyAnswer(Shape, Answer):
    """Everything about one key."""

    key: str
    layer: int
    index: int
    stats: dict[str, Value]
    stats_by_language: dict[str, dict[str, Value]]
    triggers: list[TriggerShape]
    samples: list[SampleShape]
    fires_on: list[TokenCountShape]
    value_tokens: ValueTokensShape = Field(description="Through the final norm's gain, L(v)")
    value_tokens_raw: ValueTokensShape = Field(description="E v")
    histogram_edges: list[float | None] = Field(description="In ascending order; null at both ends is infinity")
    histograms: list[HistogramShape]
    neighbours: NeighboursShape
    labels: list[LabelShape] = Field(description="Current labels, for the weights of this run")
    labels_problem: str | None = Field(description="Why the labels could not be read; null if they could")
