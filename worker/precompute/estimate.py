"""Estimating a precompute before it starts: memory and disk by arithmetic, time by measuring samples of the work."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from keyscope.contract import bins
from keyscope.contract.manifest import RunSettings
from keyscope.contract.tables import WRITER_BYTES
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute import sampling
from keyscope.worker.precompute.collect import polarities
from keyscope.worker.precompute.groups import pool_size
from keyscope.worker.precompute.presets import PROCEDURES
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.values import LISTED

_BYTES_PER_ENTRY = 16
_BYTES_PER_BIN = 8
_BYTES_PER_ROW = 300
"""Memory of a stored example with its context while a layer is sorted into the run file; measured."""
_COLLECTING = 1.3
"""Time of the loop relative to bare forwards, as measured by `bench.precompute`."""
_VALUES_TIMED = 64


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a precompute needs at most, in bytes."""

    memory: float
    """Besides the model."""
    disk: float
    """While it runs; the run file itself is smaller."""


def amounts(
    keys_per_layer: Sequence[int], gated: bool, settings: RunSettings, languages: int, files: int | None = None
) -> Amounts:
    """What a precompute needs, from a model's shape alone.

    Args:
        keys_per_layer: keys of each layer.
        gated: whether the layers have a gate.
        settings: the run's.
        languages: how many languages are read.
        files: the most files of a language, where they are known: lists cannot be longer.
    """
    keys = sum(keys_per_layer)
    pool = pool_size(settings)
    if files is not None and not PROCEDURES[settings.preset].every_token:
        pool = min(pool, files)  # a file has one entry per list
    slots = pool * len(polarities(gated)) + sampling.N_GROUPS * sampling.SLOTS
    reading = keys * (2 * slots * _BYTES_PER_ENTRY + 2 * bins.N_BINS * _BYTES_PER_BIN)
    writing = WRITER_BYTES + max(keys_per_layer) * slots * languages * _BYTES_PER_ROW
    contexts = keys * slots * (4 + 2 * (2 * settings.context + 1))
    return Amounts(memory=max(reading, writing), disk=contexts * (2 + 2 * languages))


def estimate(model: CodeModel, store: TokenStore, settings: RunSettings, batch: int) -> str:
    """Estimate memory, disk and time in one sentence."""
    keys = sum(model.facts.keys_per_layer)
    files = int(np.bincount(store.languages).max())
    needed = amounts(model.facts.keys_per_layer, model.facts.gated, settings, len(store.language_names), files)
    tokens = round(int(store.offsets[-1]) * settings.window / settings.stride)
    rate = _tokens_per_second(model, store, settings, batch) / _COLLECTING
    seconds = tokens / rate + keys * _seconds_per_value(model)
    return (
        f"{keys:,} keys × {tokens:,} tokens in {store.n_files:,} files: up to {size(needed.memory)} of memory besides the model, "
        f"up to {size(needed.disk)} of disk while it runs, about {_duration(seconds)}, reading {rate:,.0f} tokens/s"
    )


@torch.no_grad()
def _tokens_per_second(model: CodeModel, store: TokenStore, settings: RunSettings, batch: int) -> float:
    """Rate of a bare forward over one batch."""
    span = torch.from_numpy(np.array(store.token_ids[: settings.window], dtype=np.int64)).to(model.device)
    rows = batch if model.device.type != "cpu" else 1
    while True:
        ids = span.expand(rows, -1)
        try:
            model.run_body(ids[:, : max(1, ids.shape[1] // 8)])
            model.wait()
            started = time.monotonic()
            model.run_body(ids)
            model.wait()
            return ids.numel() / max(time.monotonic() - started, 1e-6)
        except torch.OutOfMemoryError:
            # as a shard does
            if rows == 1:
                raise
            rows //= 2


@torch.no_grad()
def _seconds_per_value(model: CodeModel) -> float:
    """Time to project one value into the vocabulary in both ways and list both ends."""
    values = model.layers[0].values[:_VALUES_TIMED].float()
    listed = min(LISTED, model.facts.vocabulary)
    started = time.monotonic()
    for normed in (True, False):
        logits = model.project(values, normed)
        for largest in (True, False):
            logits.topk(listed, dim=1, largest=largest).values.cpu()
    return (time.monotonic() - started) / len(values)


def size(n: float) -> str:
    """An amount of bytes, as in `1.2 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit in ("B", "KB") else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
