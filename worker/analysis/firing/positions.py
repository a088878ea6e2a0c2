"""How much firing depends on the position in the window."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def bucket_of(window: int, buckets: int) -> IntArray:
    """The bucket of every window position, [window]: position 0 alone, the rest in equal parts.

    Position 0 is apart because models treat the first token specially (attention sinks, Xiao et al. 2024).
    """
    positions = np.arange(window)
    return np.where(positions == 0, 0, 1 + positions * min(buckets, window) // window)


def mutual_information(fired: npt.ArrayLike, tokens: npt.ArrayLike) -> FloatArray:
    """Mutual information of firing and bucket in nats, corrected for bias; slightly below 0 is possible.

    I = Σ_b p(b) [r_b ln(r_b / r) + (1 - r_b) ln((1 - r_b) / (1 - r))], with rates r_b per bucket and r overall (Voita
    et al. 2023). The plug-in estimate is never negative, so even independent firing would seem to carry a little
    information. Its first-order bias is subtracted: (cells - rows - columns + 1) / 2N over the cells that occur (Miller
    1955).

    Args:
        fired: […, buckets], tokens of each bucket on which a key fires.
        tokens: […, buckets], tokens of each bucket.
    """
    fires, in_bucket = np.asarray(fired, np.float64), np.asarray(tokens, np.float64)
    silent = in_bucket - fires
    n = in_bucket.sum(axis=-1)
    fires_at_all, silent_at_all = fires.sum(axis=-1), silent.sum(axis=-1)
    # the sum above rearranged: x ln x of each cell, less that of its row and its column; it needs no rates, so no 0/0
    cells = (_x_ln_x(fires) + _x_ln_x(silent) - _x_ln_x(in_bucket)).sum(axis=-1)
    information = (cells - _x_ln_x(fires_at_all) - _x_ln_x(silent_at_all) + _x_ln_x(n)) / n
    occurring = (fires > 0).sum(axis=-1) + (silent > 0).sum(axis=-1)
    outcomes = (fires_at_all > 0).astype(int) + (silent_at_all > 0)
    corrected = (occurring - outcomes - (in_bucket > 0).sum(axis=-1) + 1) / (2 * n)
    return np.asarray(information - corrected)


def _x_ln_x(counts: FloatArray) -> FloatArray:
    """x ln x of counts; 0 for 0."""
    return np.asarray(counts * np.log(np.maximum(counts, 1)))


def shapes(rates: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Where in the window keys fire more, [keys, buckets] → [keys], named as in `contract.analyses.firing.SHAPES`.

    Judged by the stretches of buckets whose rate is above the middle between the key's lowest and highest.
    """
    values = np.asarray(rates, np.float64)
    high = values > (values.min(axis=1, keepdims=True) + values.max(axis=1, keepdims=True)) / 2
    stretches = (np.diff(high.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)
    first, last = high[:, 0], high[:, -1]
    return np.select(
        [
            stretches >= 3,
            (stretches == 2) & first & last,
            stretches == 2,
            first & ~last,
            last & ~first,
        ],
        ["oscillatory", "both ends", "other", "start", "end"],
        default="middle",
    )
