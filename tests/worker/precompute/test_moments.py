"""One-pass statistics against numpy and scipy in float64."""

from functools import reduce

import numpy as np
import torch
from scipy import stats

from keyscope.contract import bins
from keyscope.worker.precompute.moments import HistogramAccumulator, Moments, MomentsAccumulator, bin_of

CPU = torch.device("cpu")


def _moments(data: torch.Tensor, pieces: list[int]) -> Moments:
    accumulator = MomentsAccumulator(data.shape[1], CPU)
    for piece in data.split(pieces):
        accumulator.add(piece)
        accumulator.widen(piece, piece)
    return accumulator.result()


def _check(moments: Moments, data: torch.Tensor) -> None:
    c = data.double().numpy()
    columns = moments.columns()
    assert (columns["n"] == len(c)).all()
    for name, expected in {
        "firing_rate": (c > 0).mean(axis=0),
        "mean": c.mean(axis=0),
        "variance": c.var(axis=0),
        "skewness": stats.skew(c),
        "kurtosis": stats.kurtosis(c, fisher=False),
        "minimum": c.min(axis=0),
        "maximum": c.max(axis=0),
        "mean_abs": np.abs(c).mean(axis=0),
    }.items():
        np.testing.assert_allclose(columns[name], expected, rtol=1e-4, atol=1e-7, err_msg=name)


def test_chunks_of_any_length_give_the_moments_of_all_tokens() -> None:
    torch.manual_seed(0)
    data = torch.randn(1000, 6) ** 3 + torch.tensor([0, 0.1, -5, 20, 0, 0])
    _check(_moments(data, [1, 2, 300, 7, 690]), data)


def test_merging_two_sets_gives_the_moments_of_both() -> None:
    torch.manual_seed(1)
    data = torch.randn(900, 5).exp()
    parts = [_moments(part, [len(part)]) for part in data.split([10, 500, 390])]
    _check(reduce(Moments.merge, parts), data)


def test_a_large_mean_does_not_eat_the_digits_of_the_variance() -> None:
    torch.manual_seed(2)
    data = 1000 + torch.randn(4000, 3)
    columns = _moments(data, [256] * 15 + [160]).columns()
    np.testing.assert_allclose(columns["variance"], data.double().numpy().var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(columns["kurtosis"], stats.kurtosis(data.double().numpy(), fisher=False), rtol=1e-2)


def test_a_key_without_variance_has_no_kurtosis() -> None:
    columns = _moments(torch.zeros(50, 2), [50]).columns()
    assert np.isnan(columns["kurtosis"]).all()
    assert (columns["firing_rate"] == 0).all()


def test_bins_are_those_of_the_edges() -> None:
    edges = torch.tensor(bins.edges()[1:-1])
    values = torch.cat(
        [torch.randn(4000).exp() * torch.randn(4000).sign(), 10 * torch.randn(2000) ** 5, edges[edges > 0]]
    )
    values = values[values != 0]
    expected = np.where(
        values > 0,
        np.searchsorted(bins.edges(), values.numpy(), side="right") - 1,
        np.searchsorted(bins.edges(), values.numpy(), side="left") - 1,
    )
    assert (bin_of(values).numpy() == np.clip(expected, 0, bins.N_BINS - 1)).all()


def test_zero_does_not_fire_and_falls_below() -> None:
    assert bin_of(torch.tensor([0.0, -0.0, 1e-30])).tolist() == [bins.HALF - 1, bins.HALF - 1, bins.HALF]


def test_histograms_count_every_coefficient_once() -> None:
    torch.manual_seed(3)
    data = torch.randn(500, 4)
    accumulator = HistogramAccumulator(4, CPU)
    for piece in data.split(123):
        accumulator.add(piece.contiguous())
    counts = accumulator.result()
    expected = np.stack([np.histogram(column, bins.edges())[0] for column in data.T.numpy()])
    assert (counts == expected).all()
