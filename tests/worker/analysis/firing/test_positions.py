"""Mutual information of firing and position compared with its definition, and the shapes of positional keys."""

import numpy as np
import pytest

from keyscope.worker.analysis.firing.positions import bucket_of, mutual_information, shapes


def entropies_of_samples(fired: np.ndarray, tokens: np.ndarray) -> tuple[float, int]:
    """The information of the plain joint distribution, H(A) + H(P) − H(A, P), and the cells that occur."""
    pairs = [
        (bucket, outcome)
        for bucket, n in enumerate(tokens)
        for outcome in [1] * fired[bucket] + [0] * (n - fired[bucket])
    ]

    def entropy(values: list) -> tuple[float, int]:
        _, counts = np.unique(np.array(values), axis=0, return_counts=True)
        shares = counts / counts.sum()
        return float(-(shares * np.log(shares)).sum()), len(counts)

    joint, of_bucket, of_outcome = entropy(pairs), entropy([p[0] for p in pairs]), entropy([p[1] for p in pairs])
    bias = (joint[1] - of_bucket[1] - of_outcome[1] + 1) / (2 * len(pairs))
    return of_outcome[0] + of_bucket[0] - joint[0] - bias, joint[1]


def test_the_information_equals_that_of_the_joint_distribution_less_its_bias() -> None:
    random = np.random.default_rng(0)
    tokens = np.array([40, 7, 0, 23, 60])
    fired = np.stack([random.integers(0, tokens + 1) for _ in range(20)] + [tokens, 0 * tokens])
    expected = [entropies_of_samples(each, tokens)[0] for each in fired]
    assert mutual_information(fired, tokens) == pytest.approx(expected, abs=1e-12)
    assert expected[-1] == pytest.approx(0, abs=1e-12)


def test_firing_independent_of_position_has_no_information_on_average() -> None:
    random = np.random.default_rng(1)
    tokens = np.full(16, 50)
    fired = random.binomial(tokens, 0.3, size=(4000, 16))
    found = mutual_information(fired, tokens)
    plug_in_bias = 15 / (2 * tokens.sum())
    assert abs(found.mean()) < plug_in_bias / 10


def test_a_key_that_fires_in_half_a_window_stands_out() -> None:
    tokens = np.full(4, 100)
    found = mutual_information([[100, 100, 0, 0]], tokens)
    assert found[0] == pytest.approx(np.log(2), abs=0.01)


@pytest.mark.parametrize(
    ("rates", "shape"),
    [
        ([9, 8, 1, 1, 1, 1], "start"),
        ([1, 1, 1, 2, 8, 9], "end"),
        ([9, 1, 1, 1, 2, 8], "both ends"),
        ([1, 1, 9, 8, 1, 1], "middle"),
        ([9, 1, 8, 1, 9, 1], "oscillatory"),
        ([1, 9, 1, 1, 8, 1], "other"),
        ([9, 1, 1, 8, 1, 1], "other"),
    ],
)
def test_stretches_give_a_positional_key_its_shape(rates: list[int], shape: str) -> None:
    assert shapes([rates]).tolist() == [shape]


def test_the_first_position_has_a_bucket_of_its_own() -> None:
    assert bucket_of(8, 4).tolist() == [0, 1, 2, 2, 3, 3, 4, 4]
    assert bucket_of(3, 16).max() == 3
