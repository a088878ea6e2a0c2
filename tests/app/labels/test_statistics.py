import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats import inter_rater

from keyscope.app.labels import statistics
from keyscope.app.labels.statistics import (
    MISSING,
    Statistic,
    Undefined,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    krippendorff_alpha,
    reading,
)
from keyscope.app.queries.estimate import Estimate

KINDS = 4
tables = (
    st.integers(0, 2**32 - 1)
    .map(np.random.default_rng)
    .flatmap(
        lambda random: st.tuples(st.integers(1, 40), st.integers(2, 6), st.sampled_from([0.0, 0.3, 0.9])).map(
            lambda shape: draw(random, *shape)
        )
    )
)


def draw(random: np.random.Generator, keys: int, people: int, missing: float) -> np.ndarray:
    """Ratings of people who agree with a hidden truth most of the time, with gaps."""
    truth = random.integers(0, random.integers(1, KINDS + 1), size=(keys, 1))
    own = random.integers(0, KINDS, size=(keys, people))
    ratings = np.where(random.random((keys, people)) < random.random(), own, truth)
    return np.where(random.random((keys, people)) < missing, MISSING, ratings)


def independent_cohen(first: np.ndarray, second: np.ndarray) -> float | None:
    both = (first != MISSING) & (second != MISSING)
    table = np.zeros((KINDS, KINDS))
    np.add.at(table, (first[both], second[both]), 1)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return defined(inter_rater.cohens_kappa(table).kappa if both.any() else np.nan)


def independent_fleiss(ratings: np.ndarray) -> float | None:
    complete = ratings[(ratings != MISSING).all(axis=1)]
    if not len(complete):
        return None
    counts, _ = inter_rater.aggregate_raters(complete, n_cat=KINDS)
    with np.errstate(all="ignore"):
        return defined(inter_rater.fleiss_kappa(counts))


def independent_alpha(ratings: np.ndarray) -> float | None:
    counts = (ratings[:, :, None] == np.arange(KINDS)).sum(axis=1)
    pairable = counts[counts.sum(axis=1) >= 2].sum(axis=0)
    if (pairable > 0).sum() < 2:
        return None  # its domain of one value is refused, or nothing can be paired
    units = np.where(ratings == MISSING, np.nan, ratings.astype(float)).T
    return float(krippendorff.alpha(units, value_domain=list(range(KINDS)), level_of_measurement="nominal"))


def defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def reason(estimate: Statistic) -> str:
    assert isinstance(estimate, Undefined)
    return estimate.reason


def same(estimate: Statistic, expected: float | None) -> None:
    assert estimate.value == (None if expected is None else pytest.approx(expected, abs=1e-12))
    assert isinstance(estimate, Undefined) == (estimate.value is None)


@settings(max_examples=300, deadline=None)
@given(tables)
def test_all_three_equal_independent_implementations(ratings: np.ndarray):
    same(cohen_kappa(ratings[:, 0], ratings[:, 1], KINDS), independent_cohen(ratings[:, 0], ratings[:, 1]))
    same(fleiss_kappa(ratings, KINDS), independent_fleiss(ratings))
    same(krippendorff_alpha(ratings, KINDS), independent_alpha(ratings))


EDGES = {
    "one kind only": np.full((5, 3), 2),
    "one key": np.array([[0, 1, 0]]),
    "no overlap": np.array([[0, MISSING], [MISSING, 1], [2, MISSING]]),
    "all missing": np.full((4, 3), MISSING),
    "no keys": np.empty((0, 3), np.int64),
    "always different": np.array([[0, 1], [1, 0], [2, 3]]),
    "always the same": np.array([[0, 0], [1, 1], [3, 3]]),
    "one of the two says one kind always": np.array([[0, 0], [0, 1], [0, 2]]),
    "one pair among gaps": np.array([[0, 1, MISSING], [MISSING, MISSING, 3], [2, MISSING, MISSING]]),
}


@pytest.mark.parametrize("ratings", EDGES.values(), ids=EDGES)
def test_edge_cases_equal_independent_implementations(ratings: np.ndarray):
    same(cohen_kappa(ratings[:, 0], ratings[:, 1], KINDS), independent_cohen(ratings[:, 0], ratings[:, 1]))
    same(fleiss_kappa(ratings, KINDS), independent_fleiss(ratings))
    same(krippendorff_alpha(ratings, KINDS), independent_alpha(ratings))


@pytest.mark.parametrize("statistic", [fleiss_kappa, krippendorff_alpha])
def test_one_person_alone_agrees_with_nobody(statistic):
    alone = statistic(np.array([[0], [1]]), KINDS)
    assert alone == Undefined(0, "it needs at least two people")


def test_what_is_not_defined_says_why():
    assert "one kind" in reason(krippendorff_alpha(EDGES["one kind only"], KINDS))
    assert "no key" in reason(fleiss_kappa(EDGES["no overlap"], KINDS))


def test_each_states_the_keys_it_rests_on():
    ratings = np.array([[0, 0, MISSING], [1, 1, 1], [2, MISSING, MISSING], [0, 1, 1]])
    assert cohen_kappa(ratings[:, 0], ratings[:, 1], KINDS).n == 3
    assert fleiss_kappa(ratings, KINDS).n == 2
    assert krippendorff_alpha(ratings, KINDS).n == 3


def test_the_interval_is_that_of_keys_drawn_one_by_one():
    ratings = draw(np.random.default_rng(5), 60, 3, 0.2)
    estimate = krippendorff_alpha(ratings, KINDS)
    random = np.random.default_rng(1)
    slow = [independent_alpha(ratings[random.integers(0, len(ratings), len(ratings))]) for _ in range(600)]
    low, high = np.quantile([value for value in slow if value is not None], [0.025, 0.975])
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < estimate.value < estimate.high
    assert estimate.low == pytest.approx(low, abs=0.05)
    assert estimate.high == pytest.approx(high, abs=0.05)


def test_more_keys_narrow_the_interval_and_the_seed_fixes_it():
    few, many = (draw(np.random.default_rng(3), keys, 2, 0.0) for keys in (20, 2000))
    estimates = [cohen_kappa(each[:, 0], each[:, 1], KINDS) for each in (few, many)]
    widths = [(each.high or 0) - (each.low or 0) for each in estimates]
    assert widths[1] < widths[0] / 3
    assert cohen_kappa(few[:, 0], few[:, 1], KINDS) == estimates[0]
    assert cohen_kappa(few[:, 0], few[:, 1], KINDS, seed=1) != estimates[0]


def test_one_key_has_no_interval():
    estimate = fleiss_kappa(np.array([[0, 1, 0]]), KINDS)
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_confusion_counts_the_keys_both_labelled():
    first, second = np.array([0, 0, 1, 3, MISSING]), np.array([0, 1, 1, MISSING, 2])
    table = confusion(first, second, KINDS)
    assert table[0, 0] == table[0, 1] == table[1, 1] == 1
    assert table.sum() == 3


def test_the_bootstrap_does_not_grow_with_the_keys():
    assert statistics.RESAMPLES >= 1000
    ratings = np.tile(draw(np.random.default_rng(0), 50, 3, 0.1), (4000, 1))
    assert krippendorff_alpha(ratings, KINDS).n > 100_000


@pytest.mark.parametrize(
    ("value", "word"),
    [(-0.1, "poor"), (0.2, "slight"), (0.21, "fair"), (0.6, "moderate"), (0.8, "substantial"), (1.0, "almost perfect")],
)
def test_a_value_is_read_by_the_bands_of_landis_and_koch(value: float, word: str):
    assert reading(Estimate(value, value - 0.1, value + 0.1, n=200)) == word


def test_too_few_keys_are_said_to_be_so():
    assert reading(Estimate(0.5, 0.1, 1.0, n=10)) == "moderate; 10 keys are too few: ±0.45"
    assert reading(Estimate(0.5, 0.3, 0.7, n=100)) == "moderate; 100 keys are too few: ±0.20"
    assert reading(Estimate(1.0, 1.0, 1.0, n=5)) == "almost perfect; 5 keys are too few"
    assert reading(Estimate(1.0, n=1)) == "almost perfect; 1 key is too few"
    assert reading(Undefined(0, "no key")) == ""
