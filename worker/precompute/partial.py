"""The immutable result of one shard on disk: entries with their contexts, and mergeable statistics, as plain arrays."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import zstandard

from keyscope.contract import bins
from keyscope.worker.disk import allocate
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.entries import Entries
from keyscope.worker.precompute.moments import Moments


def write_partial(folder: Path, collector: Collector) -> None:
    """Write a shard's result to `folder`, which appears only when complete."""
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True)
    for name in collector.names:
        _write_entries(part, name, collector.count(name), collector.entries(name))
    np.save(part / "sinks.npy", collector.sinks.result())
    moments = _join_moments([layer.moments.result() for layer in collector.layers])
    np.save(part / "moments.npy", np.stack([getattr(moments, each.name) for each in fields(moments)]))
    for number, layer in enumerate(collector.layers):
        _save_compressed(part / f"tokens-{number}.zst", layer.token_histogram.result())
        _save_compressed(part / f"windows-{number}.zst", layer.window_histogram.result())
    part.replace(folder)


class Partial:
    """A complete partial result, read by ranges of keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self, name: str, first: int, last: int) -> Entries:
        """Entries of keys first … last-1."""
        arrays = {each.name: self._open(name, each.name) for each in fields(Entries)}
        begin, end = np.searchsorted(arrays["key"], [first, last])
        return Entries(**{field: np.array(array[begin:end]) for field, array in arrays.items()})

    def scores(self, name: str, first: int, last: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Keys and scores of the entries of keys first … last-1, sorted by key."""
        keys = self._open(name, "key")
        begin, end = np.searchsorted(keys, [first, last])
        return np.array(keys[begin:end]), np.array(self._open(name, "score")[begin:end])

    def moments(self) -> Moments:
        """Moments of all keys."""
        return Moments(*np.load(self._folder / "moments.npy"))

    def sinks(self) -> npt.NDArray[np.int64]:
        """Windows in which a key's largest coefficient lies on a sink, and windows looked at, [2, all keys]."""
        counts: npt.NDArray[np.int64] = np.load(self._folder / "sinks.npy")
        return counts

    def histogram(self, name: str, layer: int) -> npt.NDArray[np.uint32]:
        """The histogram of `tokens` or `windows` of a layer, [keys, N_BINS]."""
        return _load_compressed(self._folder / f"{name}-{layer}.zst").reshape(-1, bins.N_BINS)

    def _open(self, name: str, field: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(self._folder / f"{name}-{field}.npy", mmap_mode="r")
        return array


def raise_floor(kept: torch.Tensor, keys: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> torch.Tensor:
    """Fold a shard's scores into the best scores so far, [keys, k] float32 in falling order, -inf if fewer are known.

    The last column is each key's floor: an entry below it cannot be among the k best of all shards.
    """
    k = kept.shape[1]
    new = np.flatnonzero(np.diff(keys, prepend=-1))
    rank = np.arange(len(keys)) - np.repeat(new, np.diff(new, append=len(keys)))
    table = torch.full((kept.shape[0], k), -torch.inf)
    table[torch.from_numpy(keys), torch.from_numpy(rank)] = torch.from_numpy(scores)
    return torch.cat([kept, table], dim=1).topk(k, dim=1).values


def _write_entries(part: Path, name: str, total: int, layers: Iterable[Entries]) -> None:
    """Write entries layer by layer, so only one layer's are in memory."""
    writers: dict[str, npt.NDArray[Any]] = {}
    done = 0
    for entries in layers:
        writers = writers or _open_writers(part, name, entries, total)
        for field, array in writers.items():
            array[done : done + len(entries.key)] = getattr(entries, field)
        done += len(entries.key)


def _open_writers(part: Path, name: str, like: Entries, n: int) -> dict[str, npt.NDArray[Any]]:
    writers = {}
    for each in fields(like):
        array = getattr(like, each.name)
        path = part / f"{name}-{each.name}.npy"
        if n == 0:  # a mapped file cannot be empty
            np.save(path, array[:0])
            writers[each.name] = array[:0]
        else:
            writers[each.name] = np.lib.format.open_memmap(path, "w+", array.dtype, (n, *array.shape[1:]))
            allocate(path)
    return writers


def _join_moments(parts: list[Moments]) -> Moments:
    return Moments(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Moments)))


def _save_compressed(path: Path, counts: npt.NDArray[np.uint32]) -> None:
    path.write_bytes(zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(counts).tobytes()))


def _load_compressed(path: Path) -> npt.NDArray[np.uint32]:
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(path.read_bytes()), dtype=np.uint32)


def completed(folder: Path, n_shards: int) -> Iterator[int]:
    """Numbers of the shards with complete partial results."""
    return (number for number in range(n_shards) if (folder / partial_name(number)).is_dir())


def partial_name(number: int) -> str:
    """Folder name of a shard's partial result."""
    return f"shard-{number:05d}"
