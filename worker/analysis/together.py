"""One forward pass for everybody: readers of different analyses take what they want of each batch."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import PARTS
from keyscope.worker.analysis.walk import Places, walk
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Batch
from keyscope.worker.progress import Advance

FILES_AT_ONCE = 32
"""Files read before the next ones begin: bounds what a reader keeps of every file."""


@dataclass(frozen=True)
class LayerRead:
    """The coefficients of one layer in one forward pass; they belong to the model, so copy what must outlive the call."""

    layer: int
    coefficients: Tensor
    """[rows, columns, keys]"""
    at: Places
    """The tokens of the batch that count."""

    @cached_property
    def counted(self) -> Tensor:
        """The coefficients of these tokens, [n, keys] in float32; copied once for all readers."""
        return self.at.take(self.coefficients).float()


ReadLayer = Callable[[LayerRead], None]


class Reader(ABC):
    """What one step of an analysis reads of forward passes that may serve other analyses as well."""

    def begin(self, files: Sequence[int]) -> None:  # noqa: B027 - most readers keep nothing by file
        """The batches to come hold all windows of these files in which a token counts, FILES_AT_ONCE at most."""

    @abstractmethod
    def batch(self, batch: Batch, at: Places) -> ReadLayer:
        """Prepare for a batch. What is returned is called with each of its layers, first layer first."""

    def end(self) -> None:  # noqa: B027
        """All batches of these files have been read."""

    @abstractmethod
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What was read, as the result of the step."""


@torch.inference_mode()
def read_together(
    subject: Subject, readers: Sequence[Reader], files: Sequence[Sequence[int]], advance: Advance
) -> list[float]:
    """Run each batch of some files through the model once, for all readers that want its files.

    Files are batched by the part of the corpus they are in, so a reader of one part sees the same batches, to the last
    bit, whoever reads the others.

    Args:
        subject: the run.
        readers: those who read.
        files: the files that each reads. Of a part of the corpus it reads all that any reader does, or none.
        advance: called with the tokens done.

    Returns:
        Seconds for each reader: its own, and an equal share of the forward passes it took part in.
    """
    model, part_of = subject.model, subject.units.part_of_files
    all_taking = [_Taking(reader, frozenset(of_it)) for reader, of_it in zip(readers, files, strict=True)]
    everything = sorted(set().union(*files))
    for part in PARTS:
        of_part = [file for file in everything if part_of[file] == part]
        taking = [each for each in all_taking if not each.files.isdisjoint(of_part)]
        assert all(each.files.issuperset(of_part) for each in taking), "readers want different files of a part"
        for start in range(0, len(of_part), FILES_AT_ONCE):
            some = of_part[start : start + FILES_AT_ONCE]
            for each in taking:
                with each.timed():
                    each.reader.begin(some)
            for batch, at in walk(subject, some):
                _read_batch(subject, batch, at, taking)
                advance(batch.n_tokens)
            for each in taking:
                with each.timed():
                    each.reader.end()
    model.wait()
    return [each.seconds for each in all_taking]


class _Taking:
    """A reader that takes part in forward passes, and the seconds this took."""

    def __init__(self, reader: Reader, files: frozenset[int]) -> None:
        self.reader = reader
        self.files = files
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began


def _read_batch(subject: Subject, batch: Batch, at: Places, taking: Sequence[_Taking]) -> None:
    """One forward pass. On a GPU work is only queued, so what readers ask for is counted among the shared seconds."""
    began, before = time.monotonic(), sum(each.seconds for each in taking)
    reading: list[tuple[_Taking, ReadLayer]] = []
    for each in taking:
        with each.timed():
            reading.append((each, each.reader.batch(batch, at)))

    def consume(layer: int, coefficients: Tensor) -> None:
        read = LayerRead(layer, coefficients, at)
        for each, read_layer in reading:
            with each.timed():
                read_layer(read)

    with read_coefficients(subject.model, consume):
        batch.run(subject.model)
    subject.model.wait()
    shared = time.monotonic() - began - (sum(each.seconds for each in taking) - before)
    for each in taking:
        each.seconds += shared / len(taking)
