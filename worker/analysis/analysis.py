"""What every kind of analysis is: steps whose results are kept on disk, and tables written from them at the end."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import duckdb
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.precompute.runner import plan_shards
from keyscope.worker.progress import Advance

Arrays = Mapping[str, npt.NDArray[Any]]
"""The result of a step: named arrays, without objects."""
STEPS = "steps"
"""Unit of progress where no tokens go through the model."""


Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Of whatever an analysis draws: numpy takes none below 0, and hashes are of 64 bits."""


class Settings(BaseModel):
    """Everything that decides the rows of an analysis; each kind has its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work whose result is kept, so that an interrupted analysis goes on behind it."""

    name: str
    """Unique in its analysis; letters, digits, dots and hyphens."""
    files: Sequence[int]
    """Files it is about."""
    tokens: int
    """Tokens that go through the model; 0 where it is at other work."""

    @property
    def unit(self) -> str:
        """What progress is told by."""
        return "tokens" if self.tokens else STEPS


Results = Mapping[str, Arrays]
"""Results of the steps done so far, by the step's name; each array is read from disk when it is asked for."""


class Analysis(ABC):
    """One kind of analysis with its settings."""

    kind: ClassVar[str]

    def __init__(self, settings: Settings, part: str | None = None) -> None:
        self.settings = settings
        self.part = part

    @abstractmethod
    def steps(self, subject: Subject) -> Sequence[Step]:
        """The steps, in order; equal for equal settings and runs."""

    @abstractmethod
    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Compute a step.

        `advance` is told the tokens just done, which may be none. It may take its time, and it may raise: no hook on the model may be in
        place while it is called.
        """

    @abstractmethod
    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        """Write the rows of the kind's tables; the model may be at other work meanwhile, and is not to be run."""


def file_steps(subject: Subject, files_per_step: int = 32) -> list[Step]:
    """All files of the corpus, a few a step, each step in one language."""
    offsets = subject.store.offsets
    return [
        Step(f"files-{shard.number:05}", shard.files, int(offsets[shard.files.stop] - offsets[shard.files.start]))
        for shard in plan_shards(subject.store, files_per_step)
    ]
