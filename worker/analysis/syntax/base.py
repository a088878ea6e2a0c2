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


UNITS = 3
"""Simple things that a key may go by, see `units`."""


@dataclass(frozen=True)
class Base:
    """Base rates of one aspect."""

    share: FloatArray
    """[languages, values], share of the language's tokens."""
    once: FloatArray
    """[units, languages, values], the same with every different unit of a file counted once: what a rule that picks
    any token of a file, however rare or common in it, would give; and so for the tokens before and for positions."""


def units(store: TokenStore, token: IntArray, first: IntArray) -> IntArray:
    """What a key may go by without knowing any syntax: the token, the token before it, the position in the window.

    Args:
        store: the corpus.
        token: [n], numbers of tokens.
        first: [n], number of the first token of each one's window.

    Returns:
        [units, n]; -1 for the token before the first.
    """
    position = token - first
    before = np.where(position > 0, store.token_ids[np.maximum(token - 1, 0)], -1)
    return np.stack([store.token_ids[token].astype(np.int64), before, position])


def base_rates(store: TokenStore, places: PlaceMap, window: int) -> Mapping[str, Base]:
    """The base rates of every aspect, windows being spans of `window` tokens."""
    languages = [np.flatnonzero(store.languages == each) for each in range(len(store.language_names))]
    parts = [_language_rates(store, places, files, window) for files in languages]
    return {
        aspect: Base(
            np.stack([part[aspect].share[0] for part in parts]),
            np.concatenate([part[aspect].once for part in parts], axis=1),
        )
        for aspect in ASPECTS
    }


def counts_by_file(store: TokenStore, places: PlaceMap, files: IntArray, aspect: str) -> IntArray:
    """Tokens of each value in some files, [files, values]."""
    size = len(places.names[aspect])
    return np.stack([np.bincount(places.of(aspect, _tokens(store, file)), minlength=size) for file in files])


def _language_rates(store: TokenStore, places: PlaceMap, files: IntArray, window: int) -> dict[str, Base]:
    """The base rates of one language."""
    tokens = np.concatenate([_tokens(store, file) for file in files])
    file = np.repeat(files, store.lengths[files])
    first = tokens - (tokens - store.offsets[file]) % window
    weights = [_weight_once(unit, file) for unit in units(store, tokens, first)]
    rates = {}
    for aspect in ASPECTS:
        value, size = places.of(aspect, tokens), len(places.names[aspect])
        counted = [np.bincount(value, weight, minlength=size) for weight in (None, *weights)]
        share, *once = (each / each.sum() for each in counted)
        rates[aspect] = Base(share[None], np.stack(once)[:, None])
    return rates


def _weight_once(unit: IntArray, file: IntArray) -> FloatArray:
    """Weights of tokens under which every unit counts as often as there are files that have it."""
    _, which, counts = np.unique(unit, return_inverse=True, return_counts=True)
    in_files = np.bincount(np.unique(np.stack([which, file]), axis=1)[0])
    return np.asarray((in_files / counts)[which], dtype=np.float64)


def _tokens(store: TokenStore, file: int) -> IntArray:
    return np.arange(store.offsets[file], store.offsets[file + 1])
