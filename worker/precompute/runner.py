"""Running the model over one shard of files and writing its partial result."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_before_activation, read_coefficients, read_residuals
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.errors import OutOfDeviceMemory
from keyscope.worker.precompute.partial import partial_name, write_partial
from keyscope.worker.precompute.plan import Shard, ShardWork
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, batches
from keyscope.worker.progress import Advance

Floors = dict[str, npt.NDArray[np.float32]]
"""Per polarity, [all keys]: lower scores cannot be among the run's best, so a shard need not keep them."""


class ShardRunner:
    """Computes shards with one model; if device memory runs out, it halves the batch for good and restarts the shard."""

    def __init__(self, model: CodeModel, store: TokenStore, work: ShardWork) -> None:
        self._model = model
        self._store = store
        self._settings = work.settings
        self._results = work.results
        self._batch = work.batch

    def run(self, shard: Shard, floors: Floors, advance: Advance) -> None:
        """Compute a shard and write its partial result.

        Raises:
            OutOfDeviceMemory: not even a batch of one window fits.
        """
        sizes = self._model.facts.keys_per_layer
        levels = {
            name: list(torch.from_numpy(array).to(self._model.device).split(sizes)) for name, array in floors.items()
        }
        folder = self._results / partial_name(shard.number)
        while True:
            done = 0

            def tick(tokens: float) -> None:
                nonlocal done
                done += int(tokens)
                advance(tokens)

            try:
                self._attempt(shard, levels, folder, tick)
                return
            except torch.OutOfMemoryError as error:
                if self._batch == 1:
                    raise OutOfDeviceMemory(
                        f"not even one window of {self._settings.window} tokens fits into the memory of "
                        f"{self._model.device}: use a smaller window, dtype or top-k, or another device"
                    ) from error
                advance(-done)
                self._batch //= 2
                torch.cuda.empty_cache()

    @torch.no_grad()
    def _attempt(self, shard: Shard, floors: dict[str, list[Tensor]], folder: Path, advance: Advance) -> None:
        scratch = folder.with_name(folder.name + ".scratch")
        # a killed attempt may have left either
        for leftover in (scratch, folder.with_name(folder.name + ".part")):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            collector = Collector(self._model, self._store, self._settings, floors, scratch, len(shard.files))
            prefix = self._model.facts.bos
            before = PROCEDURES[self._settings.preset].before_activation
            with (
                (read_before_activation if before else read_coefficients)(self._model, collector.consume),
                read_residuals(self._model, collector.sinks.residual),
            ):
                for each in batches(
                    self._store, shard.files, Cut.of(self._settings), self._batch, prefix, self._model.device
                ):
                    collector.start(each)
                    each.run(self._model)
                    collector.sinks.finish()
                    advance(each.n_tokens)
            write_partial(folder, collector)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
