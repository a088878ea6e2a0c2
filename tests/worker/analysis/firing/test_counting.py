"""The counts of the pass compared with plain loops over plain coefficients."""

import numpy as np
import torch

from keyscope.contract import bins
from keyscope.worker.analysis.firing.analysis import candidates
from keyscope.worker.analysis.firing.counting import StepCounts, of_layer
from keyscope.worker.analysis.firing.levels import read_levels
from keyscope.worker.analysis.firing.positions import bucket_of
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import read_together
from keyscope.worker.analysis.units import units_of
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Window, window_noise

WINDOW, BUCKETS = 32, 4


def coefficients_of(subject: Subject, file: int) -> list[tuple[Window, np.ndarray]]:
    """Every window of a file with the coefficients of all keys, [tokens, keys]."""
    ids = subject.store.token_ids[subject.store.tokens_of(file)].astype(np.int64)
    windows = []
    for start in range(0, len(ids), WINDOW):
        part = ids[start : start + WINDOW]
        layers: dict[int, np.ndarray] = {}
        with (
            torch.inference_mode(),
            read_coefficients(
                subject.model, lambda layer, found, into=layers: into.update({layer: found[0].numpy().copy()})
            ),
        ):
            subject.model.run_body(torch.tensor(part[None]))
        windows.append(
            (Window(file, start, len(part)), np.concatenate([layers[each] for each in sorted(layers)], axis=1))
        )
    return windows


def test_counts_are_those_of_plain_loops(subject: Subject) -> None:
    levels = read_levels(subject.connection, subject.manifest, 0.1)
    chosen = candidates(subject, 3)
    files = list(range(5))
    counts = StepCounts(subject, levels, chosen, BUCKETS, seed=0)
    told: list[float] = []
    read_together(subject, [counts], [files], told.append)
    arrays = counts.arrays()
    found = {
        name: np.concatenate([arrays[of_layer(name, layer)] for layer in range(len(chosen))], axis=1)
        for name in ("positions", "totals", "tokens", "means", "rates")
    }

    tokens_of_key, buckets = np.concatenate(chosen), bucket_of(WINDOW, BUCKETS)
    thresholds = np.stack([np.zeros(len(tokens_of_key)), np.concatenate(levels.strong), np.concatenate(levels.peak)])
    keys, width = len(tokens_of_key), int(buckets.max()) + 1
    test = units_of(subject.store).test
    expected = {
        name: np.zeros_like(found[name], dtype=np.float64) for name in ("positions", "totals", "tokens", "means")
    }
    in_bucket, sums, squares = np.zeros(2 * width), np.zeros(keys), np.zeros(keys)
    file_fires = np.zeros((len(files), 3))
    edges = bins.edges()
    for file in files:
        half = int(test[file])
        file_sum, strongly, n = np.zeros(keys), np.zeros(keys), 0
        for window, values in coefficients_of(subject, file):
            shift = int(window_noise(subject.store, (window,), 0)[0]) % window.length
            for position, each in enumerate(values):
                token = subject.store.token_ids[subject.store.offsets[file] + window.start + position]
                over = each > thresholds
                places = [buckets[position], width + buckets[(position + shift) % window.length]]
                for place in places:
                    expected["positions"][:, :, place] += over[:2]
                    in_bucket[place] += 1
                expected["totals"] += over
                expected["tokens"] += over[:, :, None] & (tokens_of_key == token)[None]
                file_fires[file] += over[0].reshape(3, -1).sum(axis=1)
                file_sum, strongly, n = file_sum + each, strongly + over[1], n + 1
        mean = file_sum / n
        place = np.where(
            mean > 0, np.searchsorted(edges, mean, side="right") - 1, np.searchsorted(edges, mean, side="left") - 1
        )
        expected["means"][half, np.arange(keys), place] += 1
        sums, squares = sums + strongly / n, squares + (strongly / n) ** 2

    for name, counted in expected.items():
        difference = np.abs(found[name].astype(np.float64) - counted).sum()
        # within rounding of a level, a coefficient or mean can fall on either side
        assert difference <= (4 if name == "means" else 0), name
    assert np.array_equal(arrays["in_bucket"], in_bucket)
    assert np.array_equal(arrays["file_fires"], file_fires[arrays["files"]])
    assert sorted(arrays["files"]) == files
    np.testing.assert_allclose(found["rates"], np.stack([sums, squares]), atol=1e-6)
    assert sum(told) == arrays["file_tokens"].sum() == subject.store.lengths[:5].sum()


def test_levels_are_the_keys_own(subject: Subject) -> None:
    levels = read_levels(subject.connection, subject.manifest, 0.05)
    maximum = subject.connection.execute('SELECT maximum FROM keys ORDER BY layer, "index"').fetchnumpy()["maximum"]
    assert np.allclose(np.concatenate(levels.peak), np.maximum(maximum / 2, 0))
    rates = np.zeros(len(maximum))
    tokens = 0
    for file in range(subject.store.n_files):
        for _, values in coefficients_of(subject, file):
            rates += (values > np.concatenate(levels.strong)).sum(axis=0)
            tokens += len(values)
    # the level comes from one token in eight, and evenly spread inside a bin
    assert abs(np.median(rates / tokens) - 0.05) < 0.02
