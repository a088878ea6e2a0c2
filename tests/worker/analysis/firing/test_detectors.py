"""Token detectors by the three rules, one key at a time."""

import numpy as np
import pytest

from keyscope.worker.analysis.firing.detectors import detected, new_tokens, occurrences_of
from keyscope.worker.analysis.firing.settings import FiringSettings

OCCURRENCES = np.array([100, 100, 100, 5, 1000, 40, 40, 40, 40, 40])


def detects(fired: list[int], total: int, tokens: list[int], **settings: float) -> list[int]:
    there = occurrences_of(np.array([tokens]), OCCURRENCES)
    found = detected(np.array([fired]), np.array([total]), there, FiringSettings(**settings))
    return [token for token, kept in zip(tokens, found[0], strict=True) if kept]


@pytest.mark.parametrize(
    ("fired", "total", "tokens", "kept"),
    [
        ([100, 3, 0], 103, [0, 1, -1], [0]),
        ([95, 100, 0], 200, [0, 1, 2], [0, 1]),
        ([94, 0, 0], 94, [0, 1, 2], []),
        ([100, 0, 0], 106, [0, 1, 2], []),
        ([100, 0, 0], 105, [0, 1, 2], [0]),
        ([5, 0, 0], 5, [3, 1, 2], []),
        ([0, 0, 0], 0, [0, 1, 2], []),
        ([40, 40, 40, 40, 40, 100], 300, [5, 6, 7, 8, 9, 0], []),
        ([40, 40, 40, 40, 100], 262, [5, 6, 7, 8, 0], [5, 6, 7, 8, 0]),
    ],
    ids=[
        "one token",
        "two tokens",
        "too few of the token's occurrences",
        "too much besides",
        "just enough",
        "too rare a token",
        "a key that never fires",
        "six tokens",
        "five tokens",
    ],
)
def test_a_detector_fires_on_its_tokens_and_on_little_else(
    fired: list[int], total: int, tokens: list[int], kept: list[int]
) -> None:
    assert detects(fired, total, tokens) == kept


def test_new_tokens_are_those_no_layer_below_has() -> None:
    layers = [np.array([3, 5]), np.array([], dtype=int), np.array([5, 7]), np.array([3, 7, 9])]
    assert [each.tolist() for each in new_tokens(layers)] == [[3, 5], [], [7], [9]]
