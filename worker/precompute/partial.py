"""The immutable result of one shard on disk: entries with their contexts, and mergeable statistics, as plain arrays."""

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from keyscope.contract import bins
from keyscope.worker.disk import allocate
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.entries import Entries, rank_in
from keyscope.worker.precompute.moments import Moments


def write_partial(folder: Path, collector: Collector) -> None:
    """Write a shard's result into an empty folder."""
    for name in collector.names:
        _write_entries(folder, name, collector.count(name), collector.entries(name))
    np.save(folder / "sinks.npy", collector.sinks.result())
    moments = _join_moments([layer.moments.result() for layer in collector.layers])
    np.save(folder / "moments.npy", np.stack([getattr(moments, each.name) for each in fields(moments)]))
    _save_histograms(folder / "tokens.zst", [layer.token_histogram.result() for layer in collector.layers])
    _save_histograms(folder / "windows.zst", [layer.window_histogram.result() for layer in collector.layers])


def score_files(names: Iterable[str]) -> list[str]:
    """The files that `Partial.scores` reads of some polarities."""
    return [f"{name}-{field}.npy" for name in names for field in ("key", "score")]


class Partial:
    """A complete partial result, read by ranges of keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self, name: str, first: int, last: int) -> Entries:
        """Entries of keys first … last-1."""
        arrays = {each.name: self._open(name, each.name) for each in fields(Entries)}
        begin, end = np.searchsorted(arrays["key"], [first, last])
        return Entries(**{field: np.array(array[begin:end]) for field, array in arrays.items()})

    def scores(self, name: str, n_keys: int, k: int) -> npt.NDArray[np.float32]:
        """Up to k scores of each key, [keys, k] in any order, -inf where there are fewer."""
        keys, scores = self._open(name, "key"), self._open(name, "score")
        table = np.full((n_keys, k), -np.inf, dtype=np.float32)
        rank = rank_in(keys)
        table[keys[rank < k], rank[rank < k]] = scores[rank < k]
        return table

    def moments(self) -> Moments:
        """Moments of all keys."""
        return Moments(*np.load(self._folder / "moments.npy"))

    def sinks(self) -> npt.NDArray[np.int64]:
        """Windows in which a key's largest coefficient lies on a sink, and windows looked at, [2, all keys]."""
        counts: npt.NDArray[np.int64] = np.load(self._folder / "sinks.npy")
        return counts

    def histogram(self, name: str, layer: int) -> npt.NDArray[np.uint32]:
        """The histogram of `tokens` or `windows` of a layer, [keys, N_BINS]."""
        return _load_histogram(self._folder / f"{name}.zst", layer).reshape(-1, bins.N_BINS)

    def _open(self, name: str, field: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(self._folder / f"{name}-{field}.npy", mmap_mode="r")
        return array


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


def _save_histograms(path: Path, layers: list[npt.NDArray[np.uint32]]) -> None:
    """Write each layer's counts compressed, and in front of them where each ends."""
    compressor = zstandard.ZstdCompressor(level=1)
    frames = [compressor.compress(np.ascontiguousarray(counts).tobytes()) for counts in layers]
    with path.open("wb") as file:
        np.save(file, np.cumsum([0, *map(len, frames)]))
        file.writelines(frames)


def _load_histogram(path: Path, layer: int) -> npt.NDArray[np.uint32]:
    with path.open("rb") as file:
        begin, end = np.load(file)[layer : layer + 2].tolist()
        file.seek(begin, os.SEEK_CUR)
        return np.frombuffer(zstandard.ZstdDecompressor().decompress(file.read(end - begin)), dtype=np.uint32)
