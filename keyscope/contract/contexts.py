"""The coefficients around a trigger, from the bytes that a run file keeps of them."""

import math
import struct


def context_coefficients(context: bytes, scale: float, position: int, n_tokens: int) -> list[float | None]:
    """The coefficient at each token of a window; None if not stored.

    `context` holds little-endian float16 for the positions around `position`, to be multiplied by `scale`.
    """
    size = len(context) // 2
    # A product of float16 and float32 is exact in a Python float, so rounding it once gives the float32 product.
    products = [value * scale for value in struct.unpack(f"<{size}e", context)]
    first = position - size // 2
    coefficients: list[float | None] = [None] * n_tokens
    for at, value in enumerate(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *products)), start=first):
        if 0 <= at < n_tokens and math.isfinite(value):
            coefficients[at] = value
    return coefficients
