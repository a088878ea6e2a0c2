"""Tails and corrections compared with exact fractions and statsmodels."""

from fractions import Fraction
from itertools import product
from math import comb, exp, log

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from keyscope.worker.analysis.concepts.chance import TAIL, any_hit, benjamini_hochberg, calibrated, log_tail


def exact_mass(n: int, rate: Fraction) -> list[Fraction]:
    return [comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]


def exact_tail(trials: list[int], rates: list[Fraction]) -> list[Fraction]:
    mass = [Fraction(0)] * (sum(trials) + 1)
    for counts in product(*(range(n + 1) for n in trials)):
        parts = [exact_mass(n, rate)[k] for n, rate, k in zip(trials, rates, counts, strict=True)]
        mass[sum(counts)] += np.prod(parts, dtype=object)
    return [sum(mass[k:], Fraction(0)) for k in range(len(mass))]


@pytest.mark.parametrize(
    ("trials", "rates"),
    [([50], ["1/1000"]), ([50], ["3/7"]), ([7, 4], ["1/9", "2/3"]), ([3, 0, 5], ["0", "1/2", "1/50"]), ([4], ["1"])],
)
def test_a_tail_is_the_exact_one(trials: list[int], rates: list[str]) -> None:
    fractions = [Fraction(rate) for rate in rates]
    expected = exact_tail(trials, fractions)
    (found,) = log_tail([trials], [float(rate) for rate in fractions])
    assert len(found) == sum(trials) + 1
    for value, fraction in zip(found, expected, strict=True):
        if fraction == 0:
            assert value == -np.inf
        else:
            assert value == pytest.approx(log(fraction.numerator) - log(fraction.denominator), rel=1e-9, abs=1e-12)


def test_cells_with_different_numbers_of_trials_do_not_affect_each_other() -> None:
    trials, rates = np.array([[50, 3], [0, 0], [7, 20], [50, 0]]), [0.01, 0.3]
    together = log_tail(trials, rates)
    for row, alone in zip(together, ([each] for each in trials), strict=True):
        own = log_tail(alone, rates)[0]
        assert row[: len(own)] == pytest.approx(own)
        assert (row[len(own) :] == -np.inf).all()


def test_a_tail_far_below_the_smallest_float_keeps_its_logarithm() -> None:
    last = log_tail([[300]], [1e-6])[0, -1]
    assert last == pytest.approx(300 * log(1e-6))
    assert exp(last) == 0.0


def test_the_chance_of_any_hit_is_one_minus_that_of_none() -> None:
    trials, rates = np.array([[50, 0], [50, 25], [0, 0]]), np.array([0.0003, 0.25])
    assert any_hit(trials, rates) == pytest.approx([1 - 0.9997**50, 1 - 0.9997**50 * 0.75**25, 0.0])
    assert any_hit([[50]], [0.001]) == pytest.approx([exp(log_tail([[50]], [0.001])[0, 1])])
    assert any_hit([[3], [0]], [1.0]).tolist() == [1.0, 0.0]


def test_corrected_p_values_equal_those_of_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(size=500) ** 4
    p[:5] = p[5]
    expected = multipletests(p, method="fdr_bh")[1]
    assert np.exp(benjamini_hochberg(np.log(p))) == pytest.approx(expected)


@pytest.mark.parametrize("exponent", [1.0, 0.5, 2.0], ids=["uniform", "too large", "too small"])
def test_p_values_are_calibrated_by_those_of_keys_with_nothing_to_find(exponent: float) -> None:
    ours, others = exponent * np.log(np.random.default_rng(1).uniform(size=(2, 20_000)))
    found = calibrated(ours, others, len(others))
    for level in (0.1, 0.01, 0.001):
        share = (found <= log(level)).mean()
        # p that are too large stay on the safe side
        assert share <= 1.25 * level
        assert share >= 0.75 * level or exponent < 1
    assert (np.diff(found[np.argsort(ours)]) >= -1e-12).all()
    assert (benjamini_hochberg(found) > log(0.05)).all()
    # the smallest of the others are enough for keys as small
    small = ours < np.sort(others)[TAIL - 1]
    assert calibrated(ours, np.sort(others)[:TAIL], len(others))[small] == pytest.approx(found[small])


def test_one_key_far_beyond_all_that_have_nothing_to_find_is_beyond_chance() -> None:
    others = np.log(np.random.default_rng(2).uniform(size=640))
    ours = np.append(np.log(np.random.default_rng(3).uniform(size=639)), -25.0)
    assert (benjamini_hochberg(calibrated(ours, others, 640)) <= log(0.05)).nonzero()[0].tolist() == [639]
    # and so it is where the others have no hit at all, or few have any
    assert calibrated(ours, np.zeros(640), 640)[-1] == pytest.approx(-25 - log(641))
    few = np.append(np.zeros(620), np.full(20, -6.0))
    alike = np.append(few[1:], -25.0)
    assert (benjamini_hochberg(calibrated(alike, few, 640)) <= log(0.05)).nonzero()[0].tolist() == [639]


def test_many_equal_p_values_do_not_make_those_just_below_them_rare() -> None:
    others = np.append(np.zeros(620), np.full(20, -6.0))
    assert calibrated(np.array([-6.5]), others, 640) == pytest.approx(log(21 / 641) - 0.5)
