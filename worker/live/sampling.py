"""Choosing a token from scores, with random draws that depend on nothing but seed and step."""

import struct
from hashlib import blake2b

import torch
from torch import Tensor

_BITS = 52


def uniform(seed: int, step: int) -> float:
    """The draw of a step, evenly distributed over [0, 1): 52 bits of BLAKE2b over both numbers (little-endian, 64 bit).

    Both branches of a generation use the same draw, so where their probabilities agree they take the same token.
    """
    digest = blake2b(struct.pack("<QQ", seed, step), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> (64 - _BITS)) * 2.0**-_BITS


def choose(scores: Tensor, temperature: float, draw: float) -> int:
    """The index taken from unnormalised log-probabilities, [n] → index; -inf is never taken.

    At temperature 0 the highest score, the lowest index among equals. Else the inverse of the cumulative distribution
    of `softmax(scores / temperature)` in order of index, in float64: the first index whose cumulative probability
    exceeds the draw.
    """
    if temperature == 0:
        return int(scores.argmax())
    scores = scores.double()
    cumulative = torch.softmax((scores - scores.max()) / temperature, dim=0).cumsum(dim=0)
    # a draw has 52 bits, so its product with the sum stays below the sum and always falls on a possible index
    return int(torch.searchsorted(cumulative, draw * cumulative[-1], right=True))
