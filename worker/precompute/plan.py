"""The plan of a precompute: what to compute, and the corpus cut into shards that are computed independently and merged at the end."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from keyscope.contract.manifest import CorpusFacts, ModelFacts, RunSettings
from keyscope.worker.precompute.token_store import TokenStore

_SECONDS = 20
"""About how long a shard should take: long beside what a shard costs on top, short beside what a dead machine loses."""
_OPERATIONS = {"cpu": 1.5e10, "cuda": 5e13}
"""Operations in a second that a device is taken to do. Measured rates would differ each time, and so would the shards."""
_FEWEST, _MOST = 1 << 13, 1 << 20
"""Tokens of a shard at least and at most."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True)


class Shard(_Record):
    """Consecutive files of one language."""

    number: int
    language: str
    first: int
    stop: int
    """Behind its last file."""
    tokens: int

    @property
    def files(self) -> range:
        """Numbers of its files."""
        return range(self.first, self.stop)


class StoredFile(_Record):
    """What a file has to be when it is read again."""

    size: int
    sha256: str


class Plan(_Record):
    """All that determines a run's rows, so that any process on any machine can compute a part of them."""

    layout: Literal[1] = Field(1, description="Version of the plan and of what lies beside it")
    run_id: str
    started: AwareDatetime
    source: str = Field(description="Folder, file or hub name of the model")
    revision: str | None = None
    model: ModelFacts
    corpus: CorpusFacts
    settings: RunSettings
    batch: int
    tokens: str = Field(description="Folder of the tokenised corpus, as the way to it from the plan's folder")
    token_files: dict[str, StoredFile] = Field(
        default_factory=dict, description="Its files; empty if they are read where they are"
    )
    shards: tuple[Shard, ...]

    @cached_property
    def document(self) -> bytes:
        """The plan as JSON."""
        return self.model_dump_json(indent=1).encode()

    @cached_property
    def sha256(self) -> str:
        """A name for the plan by its content; results of another plan do not count."""
        return hashlib.sha256(self.document).hexdigest()

    @property
    def n_keys(self) -> int:
        """Keys of all layers."""
        return sum(self.model.keys_per_layer)


def shard_tokens(model: ModelFacts, device: str) -> int:
    """About how many tokens a shard should have, from the model's shape and the kind of device, `cpu` or `cuda`."""
    matrices = 3 if model.gated else 2
    weights = sum(4 * model.width**2 + matrices * model.width * keys for keys in model.keys_per_layer)
    tokens = _SECONDS * _OPERATIONS[device] / (2 * weights)
    return int(min(max(2 ** round(np.log2(tokens)), _FEWEST), _MOST))


def shards_by_tokens(store: TokenStore, tokens: int) -> tuple[Shard, ...]:
    """Cut the corpus by file into shards of about as many tokens; the cuts depend on the corpus and that number alone.

    The shards of a language are about equal; only a file that is longer than a shard makes one that is too.
    """
    shards: list[Shard] = []
    for language, first, last in _languages(store):
        ends = store.offsets[first : last + 2] - store.offsets[first]
        count = max(1, round(int(ends[-1]) / tokens))
        inner = np.searchsorted(ends, np.arange(1, count) * (ends[-1] / count))
        cuts = np.unique([0, *inner, len(ends) - 1])
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            shards.append(_shard(store, len(shards), language, first + start, first + stop))
    return tuple(shards)


def plan_shards(store: TokenStore, files_per_shard: int) -> list[Shard]:
    """Cut the corpus by file; the cuts depend only on the corpus and `files_per_shard`."""
    shards: list[Shard] = []
    for language, first, last in _languages(store):
        for start in range(first, last + 1, files_per_shard):
            shards.append(_shard(store, len(shards), language, start, min(start + files_per_shard, last + 1)))
    return shards


def _languages(store: TokenStore) -> Iterator[tuple[str, int, int]]:
    """Each language with its first and its last file."""
    for code, language in enumerate(store.language_names):
        members = np.flatnonzero(store.languages == code)
        yield language, int(members[0]), int(members[-1])


def _shard(store: TokenStore, number: int, language: str, first: int, stop: int) -> Shard:
    tokens = int(store.offsets[stop] - store.offsets[first])
    return Shard(number=number, language=language, first=first, stop=stop, tokens=tokens)
