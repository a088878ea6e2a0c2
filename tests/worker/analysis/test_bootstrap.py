"""Intervals by the bootstrap over files."""

import numpy as np
import pytest

from keyscope.worker.analysis.bootstrap import FEWEST_FILES, difference_interval, ratio_interval

FILES = 60
DRAW = np.random.default_rng(1)
BELOW = DRAW.integers(1, 40, (FILES, 2)).astype(float)
ABOVE = BELOW * DRAW.normal([0.5, 0.3], 0.1, (FILES, 2))


def test_a_ratio_is_one_of_sums_and_its_interval_as_wide_as_theory_predicts() -> None:
    found = ratio_interval(ABOVE, BELOW)
    assert found.estimate == pytest.approx(ABOVE.sum(axis=0) / BELOW.sum(axis=0))
    for cell in range(2):
        residual = ABOVE[:, cell] - found.estimate[cell] * BELOW[:, cell]
        error = np.sqrt((residual**2).sum()) / BELOW[:, cell].sum()  # the delta method
        assert (found.high - found.low)[cell] == pytest.approx(2 * 1.96 * error, rel=0.15)
        assert found.low[cell] < found.estimate[cell] < found.high[cell]


def test_a_difference_draws_the_same_files_for_both() -> None:
    found = difference_interval(ABOVE, BELOW)
    ratios = ratio_interval(ABOVE, BELOW)
    assert found.estimate == pytest.approx(ratios.estimate[0] - ratios.estimate[1])
    assert found.low < found.estimate < found.high
    # what varies between files in both ratios alike cancels in the difference
    shared = DRAW.normal(0, 1, FILES)
    paired = BELOW[:, :1] * (0.4 + np.stack([shared, shared], axis=1))
    alike = difference_interval(paired, np.repeat(BELOW[:, :1], 2, axis=1))
    assert (alike.estimate, alike.low, alike.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_cells_of_a_difference_do_not_affect_each_other() -> None:
    many = difference_interval(np.stack([ABOVE, 2 * ABOVE], axis=2), BELOW)
    one = difference_interval(ABOVE, BELOW)
    assert many.estimate == pytest.approx(one.estimate * np.array([1, 2]))
    assert many.low == pytest.approx(one.low * np.array([1, 2]))


@pytest.mark.parametrize(("files", "has_ends"), [(1, False), (FEWEST_FILES - 1, False), (FEWEST_FILES, True)])
def test_places_in_too_few_files_give_an_estimate_without_an_interval(files: int, has_ends: bool) -> None:
    below = np.where(np.arange(FILES)[:, None] < [files, FILES], BELOW, 0)
    above = np.where(below > 0, ABOVE, 0)
    apart = ratio_interval(above, below)
    assert not np.isnan(apart.estimate).any()
    assert (~np.isnan(apart.low)).tolist() == (~np.isnan(apart.high)).tolist() == [has_ends, True]
    both = difference_interval(above, below)
    assert not np.isnan(both.estimate)
    assert np.isnan([both.low, both.high]).tolist() == [not has_ends] * 2


def test_cells_never_counted_have_no_estimate() -> None:
    nothing = difference_interval(np.zeros((5, 2)), np.stack([np.ones(5), np.zeros(5)], axis=1))
    assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()
