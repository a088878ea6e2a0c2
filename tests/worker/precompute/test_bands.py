"""Cutting bands from samples whose ranks are known."""

import numpy as np
import torch

from keyscope.contract import bins
from keyscope.worker.precompute.bands import BANDS, PER_BAND, cut_bands
from keyscope.worker.precompute.entries import Entries
from keyscope.worker.precompute.sampling import (
    N_GROUPS,
    RANDOM_GROUPS,
    SILENT_GROUP,
    groups_of,
    key_noise,
    priorities,
    random_groups,
)

CPU = torch.device("cpu")


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


def _sampled(seed: int = 0) -> tuple[np.ndarray, Entries]:
    """All windows of one key, one per file: a third silent, the others log-normal; all of them sampled."""
    random = np.random.default_rng(seed)
    values = np.where(random.random(3000) < 1 / 3, -random.random(3000), random.lognormal(0.5, 1, 3000))
    groups = groups_of(torch.from_numpy(values).float()).numpy()
    return values, _entries(values, groups, random.permutation(3000), np.arange(3000))


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
        if band not in ("silent", "random"):
            low, high = (int(edge) / 100 for edge in band.split("-"))
            assert low - 0.03 <= exact <= high + 0.03
        assert (band == "silent") == (value <= 0)


def test_a_band_holds_the_samples_of_highest_priority_ordered_by_coefficient() -> None:
    values, samples = _sampled()
    found, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
    assert set(bands) == {"0-50", "50-80", "80-95", "silent"}
    for band in set(bands):
        kept = found.take(bands == band)
        assert len(kept.key) == PER_BAND
        assert (np.diff(kept.value) <= 0).all()
    silent = samples.take(values <= 0)
    assert set(found.score[bands == "silent"]) == set(np.sort(silent.score)[-PER_BAND:])


def test_a_trigger_is_in_no_rank_band() -> None:
    values, samples = _sampled()
    first, bands, _ = _cut(values, samples, samples.take(slice(0, 0)))
    triggers = first.take(bands == "80-95")
    again, again_bands, _ = _cut(values, samples, triggers)
    assert not set(triggers.position) & set(again.position[again_bands == "80-95"])
    assert (again_bands == "80-95").sum() == PER_BAND


def test_a_file_comes_once_in_a_band() -> None:
    values, samples = _sampled()
    shared = _entries(values, samples.group, samples.score, np.arange(3000) // 1000)
    found, bands, _ = _cut(values, shared, shared.take(slice(0, 0)))
    for band in set(bands):
        files = found.file[bands == band].tolist()
        assert len(files) == len(set(files)) <= 3


def test_groups_that_draw_from_all_windows_make_the_random_band() -> None:
    values, samples = _sampled()
    drawn = samples.take(slice(0, 10))
    drawn = _entries(drawn.value, np.arange(10) % RANDOM_GROUPS, drawn.score, drawn.file)
    _, bands, _ = _cut(values, drawn, drawn)
    assert (bands == "random").sum() == PER_BAND
    assert len(bands) == PER_BAND


def test_groups_rise_with_the_coefficient_and_none_is_left_out() -> None:
    values = torch.cat([torch.tensor([-3.0, 0.0]), torch.logspace(-6, 5, 4000)])
    groups = groups_of(values)
    assert groups[:2].tolist() == [SILENT_GROUP, SILENT_GROUP]
    assert (groups.diff() >= 0).all()
    assert set(groups.tolist()) == set(range(SILENT_GROUP, N_GROUPS))


def test_priorities_differ_between_keys_and_are_spread_evenly() -> None:
    noise = key_noise(500, layer=3, device=CPU)
    drawn = priorities(torch.arange(200) * 7919, noise)
    assert drawn.max() < 2**24
    assert abs(float(drawn.mean()) / 2**24 - 0.5) < 0.01
    assert abs(float(torch.corrcoef(drawn.T[:2])[0, 1])) < 0.3
    shares = torch.bincount(random_groups(torch.arange(200), noise).flatten()) / (200 * 500)
    assert (abs(shares - 1 / RANDOM_GROUPS) < 0.02).all()
