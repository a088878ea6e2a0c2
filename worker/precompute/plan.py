"""The plan of a precompute: a corpus cut into shards that are computed independently and merged at the end."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.token_store import TokenStore


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive files of one language."""

    number: int
    language: str
    files: range


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What all shards of a run share: all a process on any machine needs to compute one. It can be pickled and hashed."""

    source: ModelSource
    settings: RunSettings
    batch: int
    workers: int
    tokens: Path
    """Folder of the token store."""
    results: Path
    """Folder of the partial results."""


def plan_shards(store: TokenStore, files_per_shard: int) -> list[Shard]:
    """Cut the corpus by file; the cuts depend only on the corpus and `files_per_shard`."""
    shards: list[Shard] = []
    for code, language in enumerate(store.language_names):
        members = np.flatnonzero(store.languages == code)
        for start in range(int(members[0]), int(members[-1]) + 1, files_per_shard):
            stop = min(start + files_per_shard, int(members[-1]) + 1)
            shards.append(Shard(len(shards), language, range(start, stop)))
    return shards


def tokens_in(store: TokenStore, shard: Shard) -> int:
    """Tokens of a shard's files."""
    return int(store.offsets[shard.files.stop] - store.offsets[shard.files.start])
