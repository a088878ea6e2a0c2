"""How common each value of an aspect is in the corpus, by language: the base rates that triggers are held against."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.analyses.syntax import ASPECTS
from worker.analysis.syntax.places import PlaceMap
from worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Base:
    """Base rates of one aspect."""

    share: FloatArray
    """[languages, values], share of the language's tokens."""
    share_of_tokens: FloatArray
    """[languages, values], the same with every different token of a file counted once: what a rule that picks any
    token of a file, however rare or common in it, would give."""


def base_rates(store: TokenStore, places: PlaceMap) -> Mapping[str, Base]:
    """The base rates of every aspect."""
    languages = [np.flatnonzero(store.languages == each) for each in range(len(store.language_names))]
    parts = [_language_rates(store, places, files) for files in languages]
    return {
        aspect: Base(np.stack([part[aspect][0] for part in parts]), np.stack([part[aspect][1] for part in parts]))
        for aspect in ASPECTS
    }


def counts_by_file(store: TokenStore, places: PlaceMap, files: IntArray, aspect: str) -> IntArray:
    """Tokens of each value in some files, [files, values]."""
    size = len(places.names[aspect])
    return np.stack([np.bincount(places.of(aspect, np.arange(*_span(store, file))), minlength=size) for file in files])


def _language_rates(store: TokenStore, places: PlaceMap, files: IntArray) -> dict[str, tuple[FloatArray, FloatArray]]:
    tokens = np.concatenate([np.arange(*_span(store, file)) for file in files])
    ids = store.token_ids[tokens].astype(np.int64)
    counts = np.bincount(ids)
    in_files = np.zeros(len(counts))
    for file in files:
        in_files[np.unique(store.token_ids[slice(*_span(store, file))])] += 1
    weights = (in_files / np.maximum(counts, 1))[ids]
    rates = {}
    for aspect in ASPECTS:
        value, size = places.of(aspect, tokens), len(places.names[aspect])
        once = np.bincount(value, weights, minlength=size)
        rates[aspect] = np.bincount(value, minlength=size) / len(value), once / once.sum()
    return rates


def _span(store: TokenStore, file: int) -> tuple[int, int]:
    return int(store.offsets[file]), int(store.offsets[file + 1])
