"""A recipe: everything that determines an experiment, and the digests of what came of it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.concepts import Concept
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest


class NoRecipe(KeyscopeError, status=409):
    """An analysis was computed by a version that did not note what a recipe needs."""


class Masked(BaseModel):
    """Keys with what became of their coefficients; in the notation of baskets."""

    operation: str = Field(description="scale, mean or resample")
    language: str | None = Field(None, description="Language of the tokens it applies to; null for all")
    masks: list[str] = Field(description="`L5.K312:0` scales, `L5.K312:=0.25` puts a number in the coefficient's place")


class Recipe(BaseModel):
    """One experiment, for `keyscope replay`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    recipe: Literal[1] = Field(1, description="Version of this format")
    run: str = Field(description="Name of the run")
    model: str
    weights_sha256: str
    corpus: list[str] = Field(description="Where the corpus was read from")
    corpus_sha256: str
    split_sha256: str | None = Field(
        description="sha256 of which files keys are picked on, doses chosen on and figures measured on"
    )
    kind: str
    part: str | None
    settings: dict[str, Any] = Field(description="Settings of the analysis, seeds among them")
    rests_on: dict[str, str] = Field(description="sha256 of the run file and of the analyses it reads")
    concept: Concept | None = None
    concept_sha256: str | None = Field(None, description="sha256 of the concept's definition")
    masked: list[Masked] = Field(default_factory=list, description="The keys of the main dose")
    code_version: str
    code_commit: str | None = Field(description="Commit of the code; null for an installed copy")
    versions: dict[str, str]
    device: str | None
    batch: int | None = Field(description="Windows in one forward pass: floats depend on it in their last bits")
    threads: int | None = Field(description="Threads of the computation, for the same reason")
    command: str = Field(description="The command that computes it")
    rows: dict[str, str] = Field(description="sha256 of the rows of every table")


def recipe(run: Manifest, made: AnalysisManifest, **more: Any) -> Recipe:
    """The recipe of an analysis of a run; `more` are the fields that belong to its kind.

    Raises:
        NoRecipe: the analysis does not say what its rows were.
    """
    if not made.rows:
        name = made.part or made.kind
        raise NoRecipe(f"{name} was computed by Keyscope {made.code_version}, which noted no digests: compute it anew")
    shared = {name: getattr(made, name) for name in Recipe.model_fields if name in AnalysisManifest.model_fields}
    return Recipe(
        **shared,
        run=run.run_id,
        model=run.model.model_id,
        corpus=run.corpus.requested,
        command=command(run.run_id, made),
        **more,
    )


def command(run: str, made: AnalysisManifest) -> str:
    """The command that computes an analysis, with the settings that were given or are not empty."""
    given = {name: value for name, value in made.settings.items() if value not in (None, "", [])}
    words = [f"--set '{name}={_text(value)}'" for name, value in given.items()]
    return " ".join(["keyscope analyse", f"{run}.duckdb", made.kind, *words])


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
