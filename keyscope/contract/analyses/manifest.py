"""The manifest of an analysis: which run it belongs to, how it was computed and what it cost."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class AnalysisManifest(BaseModel):
    """One analysis of one run."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    schema_version: int
    kind: str = Field(description="syntax, firing, agreement, …")
    part: str | None = Field(None, description="Tells analyses of one kind apart, where a run can have several")
    run_id: str
    weights_sha256: str
    corpus_sha256: str
    settings: dict[str, Any] = Field(description="Everything that decides its rows, run aside")
    files: int = Field(description="Files it was computed over")
    tokens: int = Field(description="Tokens it was computed over")
    seconds: float = Field(description="Time it took, interruptions not counted")
    forward_seconds: float | None = Field(
        None, description="Time of one bare forward pass over the same tokens, measured beside it; empty without model"
    )
    device: str | None = Field(None, description="Where the model ran; empty without model")
    started: datetime
    finished: datetime
    code_version: str
    versions: dict[str, str]

    @property
    def cost(self) -> float | None:
        """The time as a multiple of one bare forward pass over the same tokens."""
        return self.seconds / self.forward_seconds if self.forward_seconds else None
