"""One-pass statistics of every key: moments, extremes, firing rate and fixed-edge histograms.

Sums of powers are kept around the running mean: raw sums of c² or c⁴ would lose all digits to cancellation for a key
that is almost constant. Within a batch float32 is enough, because a batch has a few thousand tokens; across batches and
shards float64 is needed: a float32 count stops growing at 2²⁴.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract import bins

FloatArray = npt.NDArray[np.float64]

_CACHED_BYTES = 1 << 20
"""Bytes of coefficients the moments are computed on at once on a CPU."""


@dataclass(frozen=True)
class Moments:
    """Mergeable statistics of many keys, each array [keys].

    `m2`, `m3` and `m4` are sums of the second to fourth power of the distance to the mean.
    """

    n: FloatArray
    mean: FloatArray
    m2: FloatArray
    m3: FloatArray
    m4: FloatArray
    total_abs: FloatArray
    firing: FloatArray
    minimum: FloatArray
    maximum: FloatArray

    def merge(self, other: "Moments") -> "Moments":
        """Statistics of the union of two sets of tokens (Pébay 2008, SAND2008-6212, equations 2.1 and 3.1)."""
        n = self.n + other.n
        safe = np.maximum(n, 1)  # two empty sets merge to an empty one, not to NaN
        delta = other.mean - self.mean
        ratio = delta / safe
        a, b = self.n, other.n
        mean = self.mean + b * ratio
        m2 = self.m2 + other.m2 + delta * ratio * a * b
        m3 = self.m3 + other.m3 + delta * ratio**2 * a * b * (a - b) + 3 * ratio * (a * other.m2 - b * self.m2)
        m4 = (
            self.m4
            + other.m4
            + delta * ratio**3 * a * b * (a * a - a * b + b * b)
            + 6 * ratio**2 * (a * a * other.m2 + b * b * self.m2)
            + 4 * ratio * (a * other.m3 - b * self.m3)
        )
        return Moments(
            n=n,
            mean=mean,
            m2=m2,
            m3=m3,
            m4=m4,
            total_abs=self.total_abs + other.total_abs,
            firing=self.firing + other.firing,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
        )

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """The columns of `keyscope.contract.runfile.MOMENTS`; NaN where undefined, without tokens or variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # population moments, not sample ones: shards and whole corpora of any size give the same formula
            variance = self.m2 / self.n
            flat = variance <= 0  # a constant key has no shape: 0/0, not 0
            skewness = np.where(flat, np.nan, (self.m3 / self.n) / variance**1.5)
            kurtosis = np.where(flat, np.nan, (self.m4 / self.n) / variance**2)
            return {
                "n": self.n.astype(np.uint64),
                "firing_rate": self.firing / self.n,
                "mean": np.where(self.n > 0, self.mean, np.nan),
                "variance": variance,
                "skewness": skewness,
                "kurtosis": kurtosis,
                "minimum": np.where(self.n > 0, self.minimum, np.nan),
                "maximum": np.where(self.n > 0, self.maximum, np.nan),
                "mean_abs": self.total_abs / self.n,
            }


class MomentsAccumulator:
    """Moments of one layer's keys, on the device; tokens arrive in batches [tokens, keys]."""

    def __init__(self, keys: int, device: torch.device) -> None:
        self._n = 0
        self._state = torch.zeros(6, keys, dtype=torch.float64, device=device)
        """mean, m2, m3, m4, sum of |c|, number of tokens on which the key fires"""
        self._minimum = torch.full((keys,), torch.inf, device=device)
        self._maximum = torch.full((keys,), -torch.inf, device=device)

    def add(self, coefficients: Tensor, counted: Tensor | None = None) -> None:
        """Add a batch of float32 coefficients; their extremes go to `widen`.

        Args:
            coefficients: [tokens, keys].
            counted: indices of the tokens that count, [n]; all by default.
        """
        # each coefficient is read several times: in cache on a CPU, in one launch per operation on a GPU
        on_host = coefficients.device.type == "cpu"
        width = max(1, _CACHED_BYTES // (4 * len(coefficients))) if on_host else coefficients.shape[1]
        sums = [
            # index_select copies whole rows of memory, which an index does not
            _power_sums(some if counted is None else some.index_select(0, counted))
            for some in coefficients.split(width, dim=1)
        ]
        n = len(coefficients) if counted is None else len(counted)
        self._merge(n, torch.cat(sums, dim=1).to(torch.float64))

    def widen(self, smallest: Tensor, largest: Tensor) -> None:
        """Take in extremes of the tokens added, each [n, keys]: the search for triggers has them already."""
        torch.minimum(self._minimum, smallest.amin(dim=0), out=self._minimum)
        torch.maximum(self._maximum, largest.amax(dim=0), out=self._maximum)

    def _merge(self, b: int, other: Tensor) -> None:
        """Merge a batch of `b` tokens; the same formula as `Moments.merge`, on the device and in place."""
        a, n = self._n, self._n + b
        mean, m2, m3, m4, _, _ = self._state
        delta = other[0] - mean
        ratio = delta / n
        cross = delta * ratio * (a * b)
        m4_new = (
            other[3]
            + cross * ratio * ratio * (a * a - a * b + b * b)
            + 6 * ratio * ratio * (a * a * other[1] + b * b * m2)
            + 4 * ratio * (a * other[2] - b * m3)
        )
        m3_new = other[2] + cross * ratio * (a - b) + 3 * ratio * (a * other[1] - b * m2)
        m4 += m4_new
        m3 += m3_new
        m2 += other[1] + cross
        mean += b * ratio
        self._state[4:] += other[4:]
        self._n = n

    def result(self) -> Moments:
        """The statistics so far, on the host."""
        mean, m2, m3, m4, total_abs, firing = self._state.cpu().numpy()
        return Moments(
            n=np.full(len(mean), float(self._n)),
            mean=mean,
            m2=m2,
            m3=m3,
            m4=m4,
            total_abs=total_abs,
            firing=firing,
            minimum=self._minimum.double().cpu().numpy(),
            maximum=self._maximum.double().cpu().numpy(),
        )


def _power_sums(coefficients: Tensor) -> Tensor:
    """Mean, sums of the second, third and fourth powers of the distance from it, sum of |c|, and firing tokens.

    From [tokens, keys] to [6, keys].
    """
    mean = coefficients.mean(dim=0)
    # in place from here: this is memory-bound, and each new tensor of this size would cost a pass over memory
    distance = coefficients - mean
    power = distance * distance
    sums = [power.sum(dim=0), (distance.mul_(power)).sum(dim=0), (power.mul_(power)).sum(dim=0)]
    absolute = torch.abs(coefficients, out=power).sum(dim=0)
    firing = torch.gt(coefficients, 0, out=distance).sum(dim=0)
    return torch.stack([mean, *sums, absolute, firing])


def bin_of(coefficients: Tensor) -> Tensor:
    """Bin (0 … N_BINS-1) of each float32 coefficient as int32, from its exponent and first mantissa bit.

    Bits are exact: log2 rounds differently on CPU and GPU near the edges, which would move counts between bins.
    """
    bits = coefficients.view(torch.int32)
    # with the sign masked off, exponent and first mantissa bit are the top 9 bits; 127 is the exponent's bias
    lowest = (127 + bins.LOWEST_EXPONENT) * 2
    distance = ((bits & 0x7FFFFFFF) >> 22).sub_(lowest - 1).clamp_(0, bins.HALF - 1)
    # -1 where the key does not fire, and x ^ -1 is -x - 1: the mirrored bin below the middle
    return distance.bitwise_xor_((coefficients > 0).int().sub_(1)).add_(bins.HALF)


class HistogramAccumulator:
    """Counts per key and bin of `keyscope.contract.bins`, on the device."""

    def __init__(self, keys: int, device: torch.device) -> None:
        self._first = torch.arange(keys, dtype=torch.int32, device=device) * bins.N_BINS
        self._counts = torch.zeros(keys * bins.N_BINS, dtype=torch.int64, device=device)

    def add(self, coefficients: Tensor) -> None:
        """Add [n, keys] float32 coefficients."""
        places = bin_of(coefficients).add_(self._first).view(-1)
        self._counts.index_add_(0, places, torch.ones_like(places, dtype=torch.int64))

    def result(self) -> npt.NDArray[np.uint32]:
        """Counts so far, [keys, N_BINS], on the host."""
        return self._counts.view(-1, bins.N_BINS).cpu().numpy().astype(np.uint32)
