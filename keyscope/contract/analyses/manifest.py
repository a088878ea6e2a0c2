"""The manifest of an analysis: its run, its settings and its cost."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class AnalysisManifest(BaseModel):
    """One analysis of one run."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    schema_version: int
    kind: str = Field(description="syntax, firing, agreement, …")
    part: str | None = Field(None, description="Distinguishes analyses of one kind, if a run can have several")
    run_id: str
    weights_sha256: str
    corpus_sha256: str
    settings: dict[str, Any] = Field(description="Everything besides the run that determines its rows")
    files: int = Field(description="Files it was computed over")
    tokens: int = Field(description="Tokens it was computed over")
    seconds: float = Field(description="Time it took, without interruptions")
    forward_seconds: float | None = Field(
        None,
        description="Time of one plain forward pass over the same tokens, measured alongside; empty if no model ran",
    )
    shared_with: list[str] = Field(
        [], description="Kinds computed in the same forward passes, whose time counts in equal parts for each"
    )
    device: str | None = Field(None, description="Where the model ran; empty if no model ran")
    started: AwareDatetime
    finished: AwareDatetime
    code_version: str
    code_commit: str | None = Field(None, description="Commit of the code; empty for an installed copy")
    versions: dict[str, str]
    batch: int | None = Field(None, description="Windows in one forward pass")
    threads: int | None = Field(None, description="Threads of the computation")
    split_sha256: str | None = Field(
        None, description="sha256 of which files keys are picked on, doses chosen on and figures measured on"
    )
    rests_on: dict[str, str] = Field(
        default_factory=dict, description="sha256 of the run file and of the analyses that were read, by name"
    )
    rows: dict[str, str] = Field(default_factory=dict, description="sha256 of the rows of every table")

    @property
    def cost(self) -> float | None:
        """Time as a multiple of one plain forward pass over the same tokens."""
        return self.seconds / self.forward_seconds if self.forward_seconds else None
