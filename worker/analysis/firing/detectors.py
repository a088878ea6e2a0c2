"""Token detectors: keys that fire on a few tokens wherever they occur, and on little else (Voita et al. 2023)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.firing.settings import FiringSettings

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def detected(
    fired: npt.NDArray[Any], totals: npt.NDArray[Any], there: npt.NDArray[Any], settings: FiringSettings
) -> BoolArray:
    """Which of its candidate tokens each key detects, […, keys, candidates]; all False unless it is a detector.

    A token is kept if the key fires on nearly all its occurrences. The key is a detector if its kept tokens, a few at
    most, account for nearly all its firing. Only candidates can be kept, so a detector may be missed, but no other key
    is ever taken for one.

    Args:
        fired: […, keys, candidates], occurrences of the token on which the key fires.
        totals: […, keys], tokens on which it fires.
        there: […, keys, candidates], occurrences of the token; 0 for no candidate.
        settings: the thresholds.
    """
    kept = (there >= settings.least_occurrences) & (fired >= settings.detector_share * there)
    most = np.argsort(np.where(kept, -fired, 1), axis=-1, kind="stable")[..., : settings.detected_tokens]
    few = np.zeros_like(kept)
    np.put_along_axis(few, most, True, axis=-1)
    kept &= few
    covered = (fired * kept).sum(axis=-1)
    detects: BoolArray = kept & ((covered > 0) & (covered >= settings.detector_share * totals))[..., None]
    return detects


def occurrences_of(candidates: IntArray, occurrences: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Look up the candidates' occurrences, […, vocabulary] → […, keys, candidates]; 0 for no candidate."""
    return np.where(candidates >= 0, occurrences[..., candidates], 0)


def new_tokens(by_layer: Sequence[IntArray]) -> list[IntArray]:
    """The tokens that each layer detects and no layer below it does."""
    seen = np.zeros(0, dtype=np.int64)
    new = []
    for tokens in by_layer:
        found = np.setdiff1d(tokens, seen)
        new.append(found)
        seen = np.union1d(seen, found)
    return new
