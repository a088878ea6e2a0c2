"""Choosing the windows kept as samples of a key's whole range, beside its strongest triggers.

For each key every window has one number, its largest coefficient. Windows are grouped by that number in half octaves,
and each group keeps the few with the highest random priority, one per file; further groups ignore the number and draw
from all windows. Rank bands and a random band are cut from these at the end (`keyscope.worker.precompute.bands`):
quantiles are known only then, and groups on a logarithmic scale hold enough of every band wherever its edges fall.
"""

import torch
from torch import Tensor

from keyscope.contract import bins
from keyscope.worker.precompute.moments import bin_of

RANDOM_GROUPS = 4
SLOTS = 3
"""Samples kept per group; `RANDOM_GROUPS * SLOTS` windows make the random band."""
SILENT_GROUP = RANDOM_GROUPS
_LOWEST, _HIGHEST = -3, 7
"""Half octaves from 2^-3 to 2^7, the histogram's bins, are groups; so are all below, all above, and c ≤ 0."""
N_GROUPS = RANDOM_GROUPS + 3 + 2 * (_HIGHEST - _LOWEST)


def groups_of(largest: Tensor) -> Tensor:
    """The group of each window by its largest coefficient; int64, shaped like `largest`."""
    first = bins.HALF + 1 + 2 * (_LOWEST - bins.LOWEST_EXPONENT)
    step = (bin_of(largest) - first + 1).clamp(0, 2 * (_HIGHEST - _LOWEST) + 1)
    return torch.where(largest > 0, step + SILENT_GROUP + 1, SILENT_GROUP).long()


def key_noise(keys: int, layer: int, device: torch.device) -> Tensor:
    """A pseudo-random number per key, [keys] int64 below 2^31."""
    numbers = torch.arange(keys, dtype=torch.int64, device=device) + (layer << 20)
    return _scramble(numbers)


def priorities(window_noise: Tensor, noise_of_key: Tensor) -> Tensor:
    """A pseudo-random priority for every window and key.

    Args:
        window_noise: [windows] int64 below 2^31.
        noise_of_key: [keys] int64 below 2^31.

    Returns:
        Whole float32 numbers below 2^24, which float32 represents exactly, [windows, keys].
    """
    return (_scramble(window_noise[:, None] ^ noise_of_key) >> 7).float()


def random_groups(files: Tensor, noise_of_key: Tensor) -> Tensor:
    """For every file and key one of the groups that draw from all windows, int64 [files, keys]."""
    return _scramble(files[:, None].long() ^ noise_of_key) % RANDOM_GROUPS


def _scramble(numbers: Tensor) -> Tensor:
    """A 31-bit integer hash: two rounds of multiply and shift.

    31 bits, so the product with a 27-bit factor stays within int64: torch has no unsigned 64-bit arithmetic.
    """
    mask = (1 << 31) - 1
    mixed = ((numbers ^ (numbers >> 16)) * 0x45D9F3B) & mask
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & mask
    return mixed ^ (mixed >> 16)
