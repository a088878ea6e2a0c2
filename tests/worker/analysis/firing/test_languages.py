"""Languages: different rates, keys specific to a language, and single keys that identify one."""

import numpy as np
import pytest

from keyscope.worker.analysis.firing.languages import dealt_anew, entropy, identify, rates_differ, specific


def test_entropy_is_zero_for_one_language_and_largest_for_equal_rates() -> None:
    found = entropy(np.array([[0.2, 0, 0], [0.1, 0.1, 0.1], [0, 0, 0]]))
    assert found[:2] == pytest.approx([0, np.log(3)])
    assert np.isnan(found[2])


def test_equal_rates_are_rarely_called_different_and_distant_ones_always() -> None:
    random = np.random.default_rng(0)
    files = np.array([60, 50, 40])

    def p(means: list[float], keys: int) -> np.ndarray:
        rates = [random.gamma(2, mean / 2, size=(keys, n)) for mean, n in zip(means, files, strict=True)]
        sums = np.stack([each.sum(axis=1) for each in rates], axis=1)
        squares = np.stack([(each**2).sum(axis=1) for each in rates], axis=1)
        return rates_differ(sums, squares, files)

    alike = p([0.1, 0.1, 0.1], 4000)
    assert np.mean(alike < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(alike < 0.5) == pytest.approx(0.5, abs=0.04)
    assert p([0.3, 0.1, 0.1], 50).max() < 1e-3


def test_a_key_that_never_fires_or_always_equally_does_not_differ() -> None:
    files = np.array([4, 6])
    sums, squares = np.array([[0.0, 0.0], [2.0, 3.0]]), np.array([[0.0, 0.0], [1.0, 1.5]])
    assert rates_differ(sums, squares, files) == pytest.approx([1, 1])


def test_a_specific_key_has_low_entropy_a_high_rate_and_different_rates() -> None:
    random = np.random.default_rng(0)
    rates = random.uniform(0.001, 0.01, size=(200, 3))
    rates[7] = [0.0001, 0.5, 0.0001]
    rates[8] = [0.5, 0.0001, 0.0001]
    rates[9] = [1e-9, 1e-9, 1e-5]
    q = np.zeros(200)
    q[8] = 0.2
    found = specific(rates, entropy(rates), q, share=0.01, rate=0.95, significant=0.05)
    assert np.flatnonzero(found >= 0).tolist() == [7]
    assert found[7] == 1


def brute_force(files: np.ndarray) -> np.ndarray:
    """F1 on the second half at the first best threshold of the first half, by plain loops; [keys, languages]."""
    _, keys, languages, n_bins = files.shape

    def f1(half: int, key: int, language: int, threshold: int, above: bool) -> float:
        right = wrong = missed = 0
        for other in range(languages):
            for place in range(n_bins):
                said, n = (place >= threshold) == above, files[half, key, other, place]
                right += n if said and other == language else 0
                wrong += n if said and other != language else 0
                missed += n if not said and other == language else 0
        return 2 * right / (2 * right + wrong + missed) if right else 0.0

    found = np.zeros((keys, languages))
    for key in range(keys):
        for language in range(languages):
            ways = [(threshold, above) for above in (True, False) for threshold in range(n_bins)]
            best = max(ways, key=lambda way: f1(0, key, language, *way))
            found[key, language] = f1(1, key, language, *best)
    return found


def test_a_threshold_is_chosen_on_one_half_and_scored_on_the_other() -> None:
    files = np.random.default_rng(0).integers(0, 4, size=(2, 12, 3, 7))
    assert identify(files).f1 == pytest.approx(brute_force(files))


def test_a_key_that_is_low_in_a_language_identifies_it_too() -> None:
    files = np.zeros((2, 1, 2, 10), dtype=int)
    files[:, 0, 0, :3], files[:, 0, 1, 6:] = 5, 4
    found = identify(files)
    assert found.f1[0] == pytest.approx([1, 1])
    assert found.above[0].tolist() == [False, True]


def test_dealing_anew_keeps_bins_and_languages_and_identifies_nothing() -> None:
    files = np.zeros((2, 40, 2, 20), dtype=int)
    files[:, :, 0, :10], files[:, :, 1, 10:] = 4, 4
    dealt = dealt_anew(files, np.random.default_rng(0))
    assert np.array_equal(dealt.sum(axis=2), files.sum(axis=2))
    assert np.array_equal(dealt.sum(axis=3), files.sum(axis=3))
    assert identify(files).f1.min() == 1
    # always predicting one of two languages has an F1 of two thirds
    assert identify(dealt).f1.max() < 0.8
