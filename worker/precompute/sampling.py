"""Choosing the windows kept as samples of a key's whole range, beside its strongest triggers.

For each key every window has one number, its largest coefficient. The windows with the highest pseudo-random priority are
kept, one of each file in a list: some of all windows, some in which the key does not fire and, spread over several lists,
more of those in which it does. The last are a fair draw, so their ranks tell where the deciles of all such windows are,
and each tenth of them is a sample of its decile (`keyscope.worker.precompute.bands`). A priority depends on the window and
the key alone: samples of shards merge by taking the best again, and no worker has to wait for another.
"""

import torch
from torch import Tensor

SLOTS = 8
"""Samples kept per list."""
RANDOM, SILENT, FIRST_FIRING = 0, 1, 2
"""Lists of a key: any window; windows in which it never fires; the first of those in which it fires."""
FIRING_LISTS = 8
"""A window in which the key fires belongs to one of so many lists, drawn by its hash."""
N_GROUPS = FIRST_FIRING + FIRING_LISTS
_LIST_SALT = 0x5A17
"""Makes the lists independent of the priorities."""


def firing_lists(window_noise: Tensor) -> Tensor:
    """The list of each window for the keys that fire in it, int64 [windows]; `window_noise` as for `priorities`."""
    return FIRST_FIRING + _scramble(window_noise ^ _LIST_SALT) % FIRING_LISTS


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


def _scramble(numbers: Tensor) -> Tensor:
    """A 31-bit integer hash: two rounds of multiply and shift.

    31 bits, so the product with a 27-bit factor stays within int64: torch has no unsigned 64-bit arithmetic.
    """
    mask = (1 << 31) - 1
    mixed = ((numbers ^ (numbers >> 16)) * 0x45D9F3B) & mask
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & mask
    return mixed ^ (mixed >> 16)
