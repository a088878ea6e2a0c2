"""The manifest of a run: model, corpus, settings, provenance and verification."""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from keyscope.contract.keys import KeyId, Stack

Preset = Literal["strict", "paper2023", "geva2021"]
"""Procedures. `strict`: true coefficients, one trigger per file, no duplicates. The others follow papers."""

MOST_LAYERS = 1024
MOST_KEYS = 2**24
"""Bounds on a model, far above every known one, so that no file can make a page too large to draw."""
Count = Annotated[int, Field(ge=0, lt=2**63)]


BURN_IN = 16
"""Default burn-in in tokens: with so many before it, a coefficient is close to what it is with the whole file."""
BosPolicy = Literal["auto", "none", "eos"]
"""What stands in front of a window: what the tokenizer adds to a text, nothing, or the end-of-text token."""
Task = Literal["encode", "denoise", "continue"]
"""What an encoder–decoder is given: all of a window in its encoder; or a part of it in its decoder and the rest in its
encoder, the part being short spans here and there (denoise) or the second half (continue)."""
Question = Literal["contributions", "neighbours", "agreement", "edit", "next token", "shortening"]
"""Questions that not every architecture defines: a key's part of a logit, who writes what a key reads, agreement, edits,
the token that follows, and what a key does when the text before a token is shortened."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Framing(_Record):
    """The special tokens of an encoder–decoder."""

    start: int = Field(description="First token of every decoder input")
    prefix: list[int] = Field(description="What stands in front of every text that the encoder reads")
    suffix: list[int] = Field(description="What stands behind it")
    sentinels: list[int] = Field(
        description="`<extra_id_0>` and so on: the n-th stands for the n-th span that is missing; empty if there are none"
    )
    padding: int = Field(description="Token that fills shorter rows of a batch")


class ModelFacts(_Record):
    """The model, in enough detail to find the same weights again."""

    model_id: str = Field(description="Hub name or last part of the local path, as given by the user")
    revision: str | None = Field(None, description="Commit of the hub repository; empty for local weights")
    architecture: str = Field(description="`model_type` of the configuration, such as codegen")
    weights_sha256: str = Field(
        description="sha256 of the weights file, or of the list of names and sha256 if there are several files"
    )
    tokenizer_sha256: str = Field(description="sha256 of the serialised tokenizer")
    n_layers: Count = Field(description="Layers with a feed-forward block")
    keys_per_layer: list[Annotated[int, Field(ge=0, le=MOST_KEYS)]] = Field(
        max_length=MOST_LAYERS, description="Number of keys in each layer, from layer 0"
    )
    stack: Stack = Field(
        "L", description="The stack these layers are: E or D, the encoder or the decoder, or L where there is only one"
    )
    other_keys_per_layer: list[Annotated[int, Field(ge=0, le=MOST_KEYS)]] = Field(
        default_factory=list,
        max_length=MOST_LAYERS,
        description="Number of keys in each layer of an encoder–decoder's other stack",
    )
    width: Count = Field(description="Size of the residual stream")
    vocabulary: Count = Field(
        description="Size of the tokenizer's vocabulary; further rows of the output embedding are ignored"
    )
    activation: str = Field(description="Activation function of the feed-forward block")
    gated: bool = Field(description="The coefficient is activation(gate) times up, so both signs can be large")
    parallel: bool = Field(description="Attention and feed-forward read the same input")
    shuffled: int | None = Field(
        None, description="Seed with which the matrices of its blocks were shuffled; empty for the model itself"
    )
    bos: list[int] = Field(
        description="Token ids in front of every window: those the tokenizer adds, unless the run asks for others"
    )
    framing: Framing | None = Field(None, description="Special tokens of an encoder–decoder; empty for other models")
    undefined: dict[Question, str] = Field(
        default_factory=dict, description="Questions that the architecture does not define, and why"
    )

    def key(self, layer: int, index: int) -> KeyId:
        """A key of these layers."""
        return KeyId(layer, index, self.stack)

    def keys_in(self, stack: Stack) -> list[int]:
        """Number of keys in each layer of a stack; empty if the model has no such stack."""
        if stack == self.stack:
            return self.keys_per_layer
        return self.other_keys_per_layer if "L" not in (stack, self.stack) else []

    @model_validator(mode="after")
    def _as_many_layers_as_counts(self) -> Self:
        if len(self.keys_per_layer) != self.n_layers:
            raise ValueError(f"there are {self.n_layers} layers, but {len(self.keys_per_layer)} counts of keys")
        return self


def shuffled_sha256(weights_sha256: str, seed: int) -> str:
    """What stands for the sha256 of a model's weights with shuffled blocks, which are nowhere on disk."""
    return hashlib.sha256(f"{weights_sha256} with shuffled blocks, seed {seed}".encode()).hexdigest()


class LanguageCounts(_Record):
    """How much of one language the corpus has."""

    language: str
    files: Count
    windows: Count
    tokens: Count
    boilerplate: Count | None = Field(
        None, description="Tokens in lines of many files, read but not counted; empty if they count like others"
    )
    projects: Count | None = Field(None, description="Number of projects; empty in a run older than the count")
    largest_projects: dict[str, int] = Field(default_factory=dict, description="Tokens of the largest projects")

    @property
    def boilerplate_share(self) -> float | None:
        """Share of the tokens that are boilerplate; None if it counts like other code."""
        return None if self.boilerplate is None else self.boilerplate / max(self.tokens, 1)

    @property
    def largest_project(self) -> tuple[str, float] | None:
        """The project with most tokens and its share of them; None in a run older than the count."""
        found = max(self.largest_projects.items(), key=lambda each: each[1], default=None)
        return None if found is None else (found[0], found[1] / max(self.tokens, 1))


class CorpusFacts(_Record):
    """The corpus: its sources, what was kept, and what was skipped and why."""

    name: str = Field(description="Short name, used in titles")
    sources: list[str] = Field(description="Names of the sources, as in the table `files`")
    requested: list[str] = Field(
        default_factory=list, description="Sources as given by the user, so an analysis can read them again"
    )
    sha256: str = Field(description="sha256 over language, path and content of all files kept, in order")
    languages: list[LanguageCounts]
    skipped: dict[str, Count] = Field(default_factory=dict, description="Number of files skipped, by reason")


class RunSettings(_Record, frozen=True):
    """Everything besides model and corpus that determines a run's rows; what an older run does not say, it did not do."""

    preset: Preset = "strict"
    task: Task | None = Field(
        None, description="What an encoder–decoder is given: encode, denoise or continue; empty for other models"
    )
    window: int = Field(256, description="Tokens per window, without BOS")
    stride: int = Field(256, description="Tokens from the start of one window to the next: `window` less `burn_in`")
    burn_in: int = Field(
        0,
        ge=0,
        description="First tokens of a window that are read for context and not counted, except at a file's start",
    )
    bos: BosPolicy = Field(
        "auto",
        description="What stands in front of every window: what the tokenizer adds (auto), nothing (none) or the end-of-text token (eos)",
    )
    top_k: int = Field(50, description="Triggers stored per key, language and polarity")
    context: int = Field(32, description="Tokens on either side of a trigger whose coefficients are stored")
    files_per_language: int = 5000
    tokens_per_file: int | None = Field(None, ge=1, description="Files are cut after this many tokens; empty: never")
    keep_duplicates: bool = False
    keep_boilerplate: bool = Field(True, description="Lines that stand in many files count like others")
    ungrouped: bool = Field(True, description="Triggers with equal tokens before them are listed one by one")
    dtype: str = "float32"
    histogram_every: int = Field(8, description="One token in this many is sampled for the coefficient histogram")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _stride(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "stride" in given:
            return given
        window, burn_in = (given.get(name, cls.model_fields[name].default) for name in ("window", "burn_in"))
        return given | {"stride": window - burn_in} if isinstance(window, int) and isinstance(burn_in, int) else given

    @field_validator("burn_in")
    @classmethod
    def _windows_advance(cls, burn_in: int, info: ValidationInfo) -> int:
        if burn_in >= info.data.get("window", burn_in + 1):
            raise ValueError(f"a burn-in of {burn_in} leaves nothing of a window of {info.data['window']} tokens")
        return burn_in


class Verification(_Record):
    """Random keys recomputed with plain transformers."""

    keys: int
    triggers: int
    largest_error: float = Field(description="Largest absolute difference of a coefficient")
    tolerance: float = Field(description="Largest difference allowed, given the coefficients' dtype and scale")
    passed: bool
    seconds: float


class ComputedOn(_Record):
    """How many shards of a run were computed in one way: sums may differ in their last bits between ways."""

    device: str
    batch: int
    threads: int
    shards: Count


class Provenance(_Record):
    """What differs between otherwise equal runs: machine, versions and times."""

    device: str
    batch: int
    threads: int
    workers: int = Field(description="Processes that computed shards")
    started: AwareDatetime
    finished: AwareDatetime
    code_version: str
    code_commit: str | None = None
    versions: dict[str, str]
    peak_memory_bytes: int | None = None
    computed_on: list[ComputedOn] = Field(
        default_factory=list,
        description="Devices, batches and threads of the shards; empty in a run older than the list",
    )


class Manifest(_Record):
    """One run: one model, one corpus, one setting."""

    schema_version: int
    run_id: str
    model: ModelFacts
    corpus: CorpusFacts
    settings: RunSettings
    provenance: Provenance
    verification: Verification | None = None

    def is_twin_of(self, run: "Manifest") -> bool:
        """Whether this is the twin of another run: of its model with shuffled blocks, over the same corpus."""
        seed = self.model.shuffled
        return (
            seed is not None
            and self.model.weights_sha256 == shuffled_sha256(run.model.weights_sha256, seed)
            and (self.corpus.sha256, self.settings) == (run.corpus.sha256, run.settings)
        )

    @property
    def languages(self) -> list[str]:
        """Languages in the order of the corpus."""
        return [counts.language for counts in self.corpus.languages]

    @property
    def n_keys(self) -> int:
        """Number of keys in all layers."""
        return sum(self.model.keys_per_layer)
