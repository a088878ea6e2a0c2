"""Intervals over units: their coverage, what units do to them, and what they need."""

import numpy as np
import numpy.typing as npt
import pytest
from statsmodels.stats.proportion import proportion_confint

from keyscope.worker.analysis.draws import drawn_within, spread_about, widening
from keyscope.worker.analysis.intervals import (
    FEWEST_UNITS,
    difference_interval,
    ratio,
    ratio_interval,
    share_interval,
    student,
)
from keyscope.worker.analysis.units import Members

FILES = 60
DRAW = np.random.default_rng(1)
BELOW = DRAW.integers(1, 40, (FILES, 2)).astype(float)
ABOVE = BELOW * DRAW.normal([0.5, 0.3], 0.1, (FILES, 2))
ALONE = Members(np.arange(FILES), np.ones(FILES, dtype=bool))
"""Every file a project of its own."""
TRUTH = 0.3
SIMULATED = 500


def test_a_ratio_is_one_of_sums_and_its_interval_as_wide_as_theory_predicts() -> None:
    found = ratio_interval(ABOVE, BELOW, ALONE)
    assert found.estimate == pytest.approx(ABOVE.sum(axis=0) / BELOW.sum(axis=0))
    for cell in range(2):
        residual = ABOVE[:, cell] - found.estimate[cell] * BELOW[:, cell]
        error = np.sqrt((residual**2).sum()) / BELOW[:, cell].sum()  # the delta method
        assert (found.high - found.low)[cell] == pytest.approx(2 * 2.0 * error, rel=0.05)
        assert found.low[cell] < found.estimate[cell] < found.high[cell]


def simulated(
    projects: int, truth: float = TRUTH, concentration: int = 8
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Members]:
    """Successes and places in five files of every project, [files, simulations]: projects differ in size and in rate.

    The lower the concentration, the more projects differ in their rates.
    """
    random = np.random.default_rng(projects)
    of_project = random.lognormal(1.5, 1, (projects, 1, SIMULATED))
    places = np.ceil(of_project * random.lognormal(0, 1, (projects, 5, SIMULATED)))
    a, b = concentration * truth, concentration * (1 - truth)
    rate = random.beta(a, b, (projects, 1, SIMULATED)).clip(0.001, 0.999)
    of_file = random.beta(2 * concentration * rate, 2 * concentration * (1 - rate), places.shape)
    successes = random.binomial(places.astype(int), of_file)
    units = Members(np.repeat(np.arange(projects), 5), np.ones(projects, dtype=bool))
    return successes.reshape(-1, SIMULATED).astype(float), places.reshape(-1, SIMULATED), units


@pytest.mark.parametrize("projects", [7, 12, 30])
@pytest.mark.parametrize("concentration", [4, 8])
@pytest.mark.parametrize("truth", [0.05, 0.1, 0.3, 0.9])
def test_the_interval_of_a_share_covers_it_however_few_the_projects_and_rare_the_cases(
    truth: float, concentration: int, projects: int
) -> None:
    above, below, units = simulated(projects, truth, concentration)
    found = share_interval(above, below, units)
    assert ((found.low <= truth) & (found.high >= truth)).mean() >= 0.9


def test_the_interval_of_a_share_is_that_of_its_log_odds() -> None:
    share = np.clip(ABOVE / BELOW, 0.05, 0.95)
    found = share_interval(share * BELOW, BELOW, ALONE)
    assert found.estimate == pytest.approx((share * BELOW).sum(axis=0) / BELOW.sum(axis=0))
    odds = np.log(found.estimate / (1 - found.estimate))
    for cell in range(2):
        residual = (share[:, cell] - found.estimate[cell]) * BELOW[:, cell]
        error = np.sqrt((residual**2).sum()) / BELOW[:, cell].sum()  # the delta method
        error /= found.estimate[cell] * (1 - found.estimate[cell])
        ends = [1 / (1 + np.exp(-odds[cell] - sign * 2.0 * error)) for sign in (-1, 1)]
        assert [found.low[cell], found.high[cell]] == pytest.approx(ends, rel=0.02)
    # counting the other cases instead turns the interval round
    others = share_interval((1 - share) * BELOW, BELOW, ALONE)
    np.testing.assert_allclose([1 - others.high, 1 - others.low], [found.low, found.high])


@pytest.mark.parametrize("with_all", [0, 1, FILES])
def test_where_units_have_all_cases_or_none_they_count_as_so_many_trials(with_all: int) -> None:
    there = np.where(np.arange(FILES) < with_all, 7.0, 0.0)
    found = share_interval(there, np.full(FILES, 7.0), ALONE)
    low, high = proportion_confint(with_all, FILES, method="wilson")
    assert found.estimate == pytest.approx(with_all / FILES)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    few = share_interval(
        there[: FEWEST_UNITS - 1], np.full(FEWEST_UNITS - 1, 7.0), Members(np.arange(2), np.ones(2, dtype=bool))
    )
    assert np.isnan([few.low, few.high]).all()


@pytest.mark.parametrize("projects", [7, 12, 30])
def test_an_interval_covers_the_truth_however_few_the_projects(projects: int) -> None:
    above, below, units = simulated(projects)
    found = ratio_interval(above, below, units)
    assert ((found.low <= TRUTH) & (found.high >= TRUTH)).mean() >= 0.9
    # as if the files of a project were independent
    of_files = ratio_interval(above, below, Members(np.arange(len(above)), np.ones(len(above), dtype=bool)))
    assert ((of_files.low <= TRUTH) & (of_files.high >= TRUTH)).mean() < 0.87


@pytest.mark.parametrize("projects", [7, 12, 30])
def test_widened_draws_of_projects_cover_the_truth_too(projects: int) -> None:
    above, below, units = simulated(projects)
    by_project, places = units.sums(above), units.sums(below)
    times = drawn_within(np.zeros(projects), 200, seed=0)
    inside = []
    for one in range(0, SIMULATED, 2):
        estimate = above[:, one].sum() / below[:, one].sum()
        drawn = (times @ by_project[:, one]) / (times @ places[:, one])
        found = spread_about(estimate, drawn, widening(places[:, one]), projects)
        inside.append(bool(found.low <= TRUTH <= found.high))
    assert np.mean(inside) >= 0.9


def test_files_of_one_project_count_as_one_thing() -> None:
    doubled = ratio_interval(
        np.repeat(ABOVE, 2, axis=0),
        np.repeat(BELOW, 2, axis=0),
        Members(np.repeat(np.arange(FILES), 2), np.ones(FILES, dtype=bool)),
    )
    for two, one in zip(doubled, ratio_interval(ABOVE, BELOW, ALONE), strict=True):
        assert two == pytest.approx(one)


def test_an_interval_says_how_many_projects_it_is_over_and_nothing_where_it_is_over_files() -> None:
    mixed = Members(np.arange(FILES) // 3, np.arange(FILES // 3) < 12)
    below = np.where(np.arange(FILES)[:, None] < [FILES, 15], BELOW, 0)
    assert ratio_interval(np.where(below > 0, ABOVE, 0), below, mixed).projects.tolist() == [12, 5]
    of_files = Members(np.arange(FILES), np.zeros(FILES, dtype=bool))
    assert np.isnan(ratio_interval(ABOVE, BELOW, of_files).projects).all()


def test_a_difference_leaves_out_the_same_units_of_both() -> None:
    found = difference_interval(ABOVE, BELOW, ALONE)
    ratios = ratio_interval(ABOVE, BELOW, ALONE)
    assert found.estimate == pytest.approx(ratios.estimate[0] - ratios.estimate[1])
    assert found.low < found.estimate < found.high
    # what varies between files in both ratios alike cancels in the difference
    shared = DRAW.normal(0, 1, FILES)
    paired = BELOW[:, :1] * (0.4 + np.stack([shared, shared], axis=1))
    alike = difference_interval(paired, np.repeat(BELOW[:, :1], 2, axis=1), ALONE)
    assert (alike.estimate, alike.low, alike.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_cells_of_a_difference_do_not_affect_each_other() -> None:
    many = difference_interval(np.stack([ABOVE, 2 * ABOVE], axis=2), BELOW, ALONE)
    one = difference_interval(ABOVE, BELOW, ALONE)
    assert many.estimate == pytest.approx(one.estimate * np.array([1, 2]))
    assert many.low == pytest.approx(one.low * np.array([1, 2]))


@pytest.mark.parametrize(("units", "has_ends"), [(1, False), (FEWEST_UNITS - 1, False), (FEWEST_UNITS, True)])
def test_places_in_too_few_units_give_an_estimate_without_an_interval(units: int, has_ends: bool) -> None:
    below = np.where(np.arange(FILES)[:, None] < [units, FILES], BELOW, 0)
    above = np.where(below > 0, ABOVE, 0)
    apart = ratio_interval(above, below, ALONE)
    assert not np.isnan(apart.estimate).any()
    assert (~np.isnan(apart.low)).tolist() == (~np.isnan(apart.high)).tolist() == [has_ends, True]
    both = difference_interval(above, below, ALONE)
    assert not np.isnan(both.estimate)
    assert np.isnan([both.low, both.high]).tolist() == [not has_ends] * 2


def test_cells_never_counted_have_no_estimate() -> None:
    below = np.stack([np.ones(FILES), np.zeros(FILES)], axis=1)
    nothing = difference_interval(np.zeros((FILES, 2)), below, ALONE)
    assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


def test_the_quantiles_of_student_are_those_of_the_tables() -> None:
    assert student([1, 2, 5, 7, 20, 120]) == pytest.approx([12.706, 4.303, 2.571, 2.365, 2.086, 1.980], rel=0.01)
    assert student(np.inf) == pytest.approx(1.96)
    assert ratio(np.ones(2), np.array([2.0, 0.0])).tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
