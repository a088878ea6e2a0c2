"""Chooses tokens with random draws that depend only on seed and step."""

import struct
from hashlib import blake2b

import torch
from torch import Tensor

_BITS = 52


def uniform(seed: int, step: int) -> float:
    """The draw of a step, uniform over [0, 1): 52 bits of BLAKE2b of both numbers (little-endian, 64 bits each).

    Both branches of a generation use the same draw, so where their probabilities agree they choose the same token.
    """
    digest = blake2b(struct.pack("<QQ", seed, step), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> (64 - _BITS)) * 2.0**-_BITS


def choose(scores: Tensor, temperature: float, draw: float) -> int:
    """Choose an index from unnormalised log-probabilities [n]; -inf is never chosen.

    At temperature 0, the highest score and the lowest index among equals. Otherwise inverse transform sampling from
    `softmax(scores / temperature)` in float64: the first index whose cumulative probability exceeds the draw.
    """
    if temperature == 0:
        return int(scores.argmax())
    scores = scores.double()
    cumulative = torch.softmax((scores - scores.max()) / temperature, dim=0).cumsum(dim=0)
    # a draw of 52 bits times the sum stays below the sum, so the search always ends at an index with probability > 0
    return int(torch.searchsorted(cumulative, draw * cumulative[-1], right=True))
