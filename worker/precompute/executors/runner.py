"""Running the model over one shard of files and storing its partial result."""

import os
import shutil
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_before_activation, read_coefficients, read_residuals
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.errors import OtherModel, OutOfDeviceMemory
from keyscope.worker.precompute.groups import pool_size
from keyscope.worker.precompute.partial import Partial, write_partial
from keyscope.worker.precompute.plan import Shard, StoredFile
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.provenance import kind_of_device
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.windows import Cut, batches, for_task
from keyscope.worker.precompute.work import Result, Work, own_folder
from keyscope.worker.progress import Advance

Floors = dict[str, npt.NDArray[np.float32]]
"""Per polarity, [all keys]: lower scores cannot be among the run's best, so a shard need not keep them."""


@dataclass(frozen=True)
class Finished:
    """A shard that was computed."""

    result: Result
    scores: dict[str, npt.NDArray[np.float32]]
    """Per polarity, [all keys, k]: the scores it found, in any order, from which later shards get their floors."""


class ShardRunner:
    """Computes shards with one model; if device memory runs out, it halves the batch for good and restarts the shard."""

    def __init__(self, model: CodeModel, work: Work, scratch: Path, batch: int | None = None) -> None:
        """Open the corpus.

        Args:
            model: the model as the run reads it.
            work: the planned run.
            scratch: folder on this machine for what is not finished.
            batch: windows in one forward pass, if others than planned.

        Raises:
            OtherModel: the model is not the planned one.
        """
        _check_model(model, work)
        self.model = model
        self.work = work
        self.batch = batch or work.plan.batch
        self._settings = work.plan.settings
        self._scratch = scratch
        self._store = for_task(open_tokens(work.tokens(scratch)), model, self._settings)

    def run(self, shard: Shard, floors: Floors, advance: Advance) -> Finished:
        """Compute a shard and store its result.

        Raises:
            OutOfDeviceMemory: not even a batch of one window fits.
        """
        sizes = self.model.facts.keys_per_layer
        levels = {
            name: list(torch.from_numpy(np.array(array)).to(self.model.device).split(sizes))
            for name, array in floors.items()
        }
        while True:
            done = 0

            def tick(tokens: float) -> None:
                nonlocal done
                done += int(tokens)
                advance(tokens)

            try:
                return self._attempt(shard, levels, tick)
            except torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise OutOfDeviceMemory(
                        f"not even one window of {self._settings.window} tokens fits into the memory of "
                        f"{self.model.device}: use a smaller window, dtype or top-k, or another device"
                    ) from error
                advance(-done)
                self.batch //= 2
                torch.cuda.empty_cache()

    def _attempt(self, shard: Shard, floors: dict[str, list[Tensor]], advance: Advance) -> Finished:
        began = time.monotonic()
        scratch = own_folder(self._scratch)
        try:
            folder, spool = scratch / "result", scratch / "spool"
            folder.mkdir()
            spool.mkdir()
            write_partial(folder, self._collect(shard, floors, spool, advance))
            partial, k = Partial(folder), pool_size(self._settings)
            scores = {name: partial.scores(name, self.work.plan.n_keys, k) for name in floors}
            result = self.work.add(folder, lambda files: self._result(shard, files, time.monotonic() - began))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return Finished(result, scores)

    def _result(self, shard: Shard, files: dict[str, StoredFile], seconds: float) -> Result:
        return Result(
            number=shard.number,
            attempt=uuid.uuid4().hex[:12],
            plan=self.work.plan.sha256,
            files=files,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            device=kind_of_device(self.model.device),
            batch=self.batch,
            threads=torch.get_num_threads(),
            tokens=shard.tokens,
            seconds=round(seconds, 3),
        )

    @torch.no_grad()
    def _collect(self, shard: Shard, floors: dict[str, list[Tensor]], spool: Path, advance: Advance) -> Collector:
        collector = Collector(self.model, self._store, self._settings, floors, spool, len(shard.files))
        before = PROCEDURES[self._settings.preset].before_activation
        cut, prefix = Cut.of(self._settings), self.model.facts.bos
        with (
            (read_before_activation if before else read_coefficients)(self.model, collector.consume),
            read_residuals(self.model, collector.sinks.residual),
        ):
            for each in batches(self._store, shard.files, cut, self.batch, prefix, self.model.device):
                collector.start(each)
                each.run(self.model)
                collector.sinks.finish()
                advance(each.n_tokens)
        return collector


def _check_model(model: CodeModel, work: Work) -> None:
    planned, found = work.plan.model, model.facts
    for what in ("weights_sha256", "tokenizer_sha256"):
        if getattr(planned, what) != getattr(found, what):
            raise OtherModel(
                f"{found.model_id} has {what.replace('_', ' ')} {getattr(found, what)[:12]}, but the run {work.plan.run_id} "
                f"is planned with {getattr(planned, what)[:12]}: name the right model"
            )
