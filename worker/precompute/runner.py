"""Running the model over one shard of files and writing its partial result."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_before_activation, read_coefficients
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.errors import OutOfDeviceMemory
from keyscope.worker.precompute.partial import write_partial
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import batches
from keyscope.worker.progress import Advance


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive files of one language."""

    number: int
    language: str
    files: range


def plan_shards(store: TokenStore, files_per_shard: int) -> list[Shard]:
    """Cut the corpus by file; where the cuts are depends on the corpus and `files_per_shard` alone."""
    shards: list[Shard] = []
    for code, language in enumerate(store.language_names):
        members = np.flatnonzero(store.languages == code)
        for start in range(int(members[0]), int(members[-1]) + 1, files_per_shard):
            stop = min(start + files_per_shard, int(members[-1]) + 1)
            shards.append(Shard(len(shards), language, range(start, stop)))
    return shards


class ShardRunner:
    """A model at work on shards; on too little device memory the batch is halved for good and the shard begun again."""

    def __init__(self, model: CodeModel, store: TokenStore, settings: RunSettings, batch: int) -> None:
        self.batch = batch
        self._model = model
        self._store = store
        self._settings = settings

    def run(
        self,
        shard: Shard,
        floors: dict[str, list[Tensor]],
        folder: Path,
        advance: Advance,
    ) -> None:
        """Compute a shard and write its partial result to `folder`.

        Raises:
            OutOfDeviceMemory: not even a batch of one window fits.
        """
        while True:
            done = 0

            def tick(tokens: float) -> None:
                nonlocal done
                done += int(tokens)
                advance(tokens)

            try:
                self._attempt(shard, floors, folder, tick)
                return
            except torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise OutOfDeviceMemory(
                        f"not even one window of {self._settings.window} tokens fits into the memory of "
                        f"{self._model.device}: use a smaller window, dtype or top-k, or another device"
                    ) from error
                advance(-done)
                self.batch //= 2
                torch.cuda.empty_cache()

    @torch.no_grad()
    def _attempt(
        self,
        shard: Shard,
        floors: dict[str, list[Tensor]],
        folder: Path,
        advance: Advance,
    ) -> None:
        scratch = folder.with_name(folder.name + ".scratch")
        for leftover in (scratch, folder.with_name(folder.name + ".part")):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            collector = Collector(self._model, self._store, self._settings, floors, scratch)
            prefix = self._model.facts.bos
            before = PROCEDURES[self._settings.preset].before_activation
            with (read_before_activation if before else read_coefficients)(self._model, collector.consume):
                for each in batches(
                    self._store, shard.files, self._settings.window, self.batch, prefix, self._model.device
                ):
                    collector.start(each)
                    self._model.run_body(each.token_ids)
                    advance(each.n_tokens)
            write_partial(folder, collector, self._model.first_keys)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
