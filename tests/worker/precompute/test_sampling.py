"""Cutting bands from samples whose ranks are known."""

import numpy as np
import torch

from keyscope.contract import bins
from keyscope.worker.precompute.entries import Entries
from keyscope.worker.precompute.sampling import (
    BANDS,
    DECILES,
    FIRING_LISTS,
    FIRST_FIRING,
    PER_BAND,
    PER_DECILE,
    RANDOM,
    SILENT,
    SLOTS,
    cut_bands,
    firing_lists,
    key_noise,
    priorities,
)

CPU = torch.device("cpu")
WINDOWS = 3000


def _entries(values: np.ndarray, groups: np.ndarray, scores: np.ndarray, files: np.ndarray) -> Entries:
    n = len(values)
    return Entries(
        key=np.full(n, 7, dtype=np.int64),
        group=groups.astype(np.int8),
        score=scores.astype(np.float32),
        file=files.astype(np.int32),
        position=np.arange(n, dtype=np.int32),
        value=values.astype(np.float32),
        scale=np.ones(n, dtype=np.float32),
        contexts=np.zeros((n, 3), dtype=np.float16),
    )


def _sampled(seed: int = 0, files: int = WINDOWS) -> tuple[np.ndarray, Entries]:
    """The largest coefficients of all windows of one key, a third of them silent, and the samples kept of them."""
    random = np.random.default_rng(seed)
    values = np.where(random.random(WINDOWS) < 1 / 3, -random.random(WINDOWS), random.lognormal(0.5, 1, WINDOWS))
    turn = firing_lists(torch.from_numpy(random.integers(0, 2**31, WINDOWS))).numpy()
    groups = np.where(values > 0, turn, SILENT)
    windows = _entries(values, groups, random.permutation(WINDOWS), np.arange(WINDOWS) * files // WINDOWS)
    anywhere = _entries(values, np.full(WINDOWS, RANDOM), windows.score, windows.file)
    return values, Entries.join([windows, anywhere]).best(SLOTS)


def _cut(values: np.ndarray, samples: Entries, triggers: Entries) -> tuple[Entries, np.ndarray, np.ndarray]:
    histogram = np.histogram(values, bins.edges())[0][None]
    found, bands, quantiles = cut_bands(samples, triggers, histogram, first_key=7)
    return found, np.array(BANDS)[bands], quantiles


def test_quantiles_are_those_of_the_windows_the_key_fires_in() -> None:
    values, samples = _sampled()
    found, bands, quantiles = _cut(values, samples, samples.take(slice(0, 0)))
    firing = np.sort(values[values > 0])
    for value, band, quantile in zip(found.value, bands, quantiles, strict=True):
        exact = np.searchsorted(firing, value) / len(firing) if value > 0 else 0
        assert abs(quantile - exact) < 0.03
        if band in DECILES:
            low, high = (int(edge) / 100 for edge in band.split("-"))
            assert low - 0.15 <= exact <= high + 0.15  # the edges are those of the few windows kept
        if band == "silent":
            assert value <= 0


def test_deciles_lie_where_those_of_all_windows_are_on_average() -> None:
    centres = []
    for seed in range(40):
        values, samples = _sampled(seed)
        found, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
        firing = np.sort(values[values > 0])
        centres.append([np.searchsorted(firing, found.value[bands == band]).mean() / len(firing) for band in DECILES])
    assert np.allclose(np.mean(centres, axis=0), np.arange(0.05, 1, 0.1), atol=0.03)


def test_every_decile_is_full_and_ordered_by_coefficient() -> None:
    for seed in range(5):
        values, samples = _sampled(seed)
        found, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
        assert {band: int((bands == band).sum()) for band in BANDS} == {
            **dict.fromkeys(DECILES, PER_DECILE),
            "random": PER_BAND,
            "silent": PER_BAND,
        }
        for band in BANDS:
            assert (np.diff(found.value[bands == band]) <= 0).all()


def test_a_band_takes_the_samples_of_highest_priority() -> None:
    values, samples = _sampled()
    found, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
    silent = samples.take(samples.group == SILENT)
    assert set(found.score[bands == "silent"]) == set(np.sort(silent.score)[-PER_BAND:])


def test_a_trigger_is_in_a_decile_only_where_nothing_else_is_left() -> None:
    values, samples = _sampled()
    first, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
    triggers = first.take((bands == "90-100") & (np.cumsum(bands == "90-100") <= 1))
    again, again_bands, _ = _cut(values, samples, triggers)
    assert not set(triggers.position) & set(again.position[again_bands == "90-100"])
    assert (again_bands == "90-100").sum() == PER_DECILE
    _, every_bands, _ = _cut(values, samples, samples)
    assert (every_bands == "90-100").sum() == PER_DECILE


def test_a_file_comes_once_in_a_band() -> None:
    values, samples = _sampled()
    shared = _entries(samples.value, samples.group, samples.score, np.arange(len(samples.key)) % 3)
    found, bands, _ = _cut(values, shared, shared.take(slice(0, 0)))
    for band in set(bands):
        files = found.file[bands == band].tolist()
        assert len(files) == len(set(files)) <= 3


def test_a_key_that_fires_in_few_windows_has_them_spread_over_the_range() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    samples = _entries(values, np.full(4, FIRST_FIRING), np.arange(4), np.arange(4))
    _, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
    assert bands.tolist() == ["0-10", "20-30", "50-60", "70-80"]


def test_windows_are_dealt_evenly_to_the_lists() -> None:
    dealt = np.bincount(firing_lists(torch.arange(8000) * 7919).numpy() - FIRST_FIRING)
    assert len(dealt) == FIRING_LISTS
    assert dealt.min() > 850


def test_priorities_differ_between_keys_and_are_spread_evenly() -> None:
    noise = key_noise(500, layer=3, device=CPU)
    drawn = priorities(torch.arange(200) * 7919, noise)
    assert drawn.max() < 2**24
    assert abs(float(drawn.mean()) / 2**24 - 0.5) < 0.01
    assert abs(float(torch.corrcoef(drawn.T[:2])[0, 1])) < 0.3
