"""Pearson's chi-square test, for draws that are random but the same in every run."""

from collections.abc import Mapping, Sequence


def chi_square(counts: Mapping[int, int], expected: Sequence[float]) -> float:
    """Distance of counts from what was expected of each index."""
    return sum((counts.get(i, 0) - each) ** 2 / each for i, each in enumerate(expected))


def limit(degrees: int) -> float:
    """What chi-square exceeds once in a thousand times by chance (Wilson and Hilferty's approximation)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 3.09 * spread**0.5) ** 3)
