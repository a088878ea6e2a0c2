"""The interface of every kind of analysis: steps whose results are kept on disk, then tables written from them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import duckdb
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import Reader
from keyscope.worker.precompute.plan import plan_shards
from keyscope.worker.progress import Advance

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Arrays = Mapping[str, npt.NDArray[Any]]
"""The result of a step: named arrays, none of them of Python objects, so they load without pickle."""
Record = TypeVar("Record", bound="DataclassInstance")
STEPS = "steps"
"""Unit of progress for steps that run no tokens through the model."""


Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Seed of every random draw of an analysis: numpy takes no negative ones, and our hashes have 64 bits."""


class Settings(BaseModel):
    """Everything that determines the rows of an analysis; each kind subclasses it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of work whose result is kept on disk, so an interrupted analysis resumes after it."""

    name: str
    """Unique within its analysis; letters, digits, dots and hyphens only, because it names a file."""
    files: Sequence[int]
    """Numbers of the files it covers."""
    tokens: int
    """Tokens it runs through the model; 0 for other work."""
    shared: bool = False
    """Whether a `Reader` computes it. Steps of one name of several analyses then share their forward passes."""

    @property
    def unit(self) -> str:
        """The unit in which its progress is reported."""
        return "tokens" if self.tokens else STEPS


Results = Mapping[str, Arrays]
"""Results of the finished steps by step name; arrays are read from disk on first access."""


class Analysis(ABC):
    """One kind of analysis with its settings."""

    kind: ClassVar[str]
    rests_on: ClassVar[tuple[str, ...]] = ()
    """Kinds of analysis that this one reads."""

    def __init__(self, settings: Settings, part: str | None = None) -> None:
        self.settings = settings
        self.part = part

    @abstractmethod
    def steps(self, subject: Subject) -> Sequence[Step]:
        """The steps in order, shared ones in one row. Equal settings and runs must give equal steps: resuming matches
        them by name."""

    @abstractmethod
    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Compute a step.

        Call `advance` with the tokens just done, 0 included. It may block, to let another user of the model go first,
        and it may raise, to cancel; so leave no hook on the model while calling it.
        """

    def reader(self, subject: Subject, step: Step, done: Results) -> Reader:
        """The reader that computes a shared step, which `run_step` is not asked for."""
        raise NotImplementedError

    @abstractmethod
    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        """Write the rows of the kind's tables. Others may be using the model meanwhile, so do not run it here."""


def file_steps(subject: Subject, files_per_step: int = 32) -> list[Step]:
    """Split all files of the corpus into steps of a few files, each step in one language."""
    offsets = subject.store.offsets
    return [
        Step(f"files-{shard.number:05}", shard.files, int(offsets[shard.files.stop] - offsets[shard.files.start]))
        for shard in plan_shards(subject.store, files_per_step)
    ]


def record_arrays(record: "DataclassInstance", prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """Flatten a dataclass of arrays into a step's result, under the prefix plus each field's name."""
    return {f"{prefix}{field.name}": getattr(record, field.name) for field in fields(record)}


def read_record(kind: type[Record], arrays: Arrays, prefix: str = "") -> Record:
    """The inverse of `record_arrays`."""
    return kind(**{field.name: arrays[f"{prefix}{field.name}"] for field in fields(kind)})
