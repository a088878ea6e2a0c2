"""Base rates: how common each value of an aspect is in the corpus, by language."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.syntax.places import PlaceMap
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def base_rates(store: TokenStore, places: PlaceMap) -> Mapping[str, FloatArray]:
    """By aspect [languages, values], the share of the language's tokens with each value."""
    languages = [np.flatnonzero(store.languages == each) for each in range(len(store.language_names))]
    counts = {aspect: np.stack([_counts(store, places, files, aspect) for files in languages]) for aspect in ASPECTS}
    return {aspect: found / found.sum(axis=1, keepdims=True) for aspect, found in counts.items()}


def counts_by_file(store: TokenStore, places: PlaceMap, files: IntArray, aspect: str) -> IntArray:
    """Tokens with each value in each of some files, [files, values]."""
    return np.stack([_counts(store, places, file[None], aspect) for file in files])


def _counts(store: TokenStore, places: PlaceMap, files: IntArray, aspect: str) -> IntArray:
    """Tokens with each value that count in some files together, [values]."""
    tokens = store.numbers(files)
    return np.bincount(places.of(aspect, tokens), minlength=len(places.names[aspect]))
