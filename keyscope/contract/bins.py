"""The fixed edges of every coefficient histogram: two bins an octave, mirrored at zero.

Fixed edges make histograms mergeable across shards and comparable across keys and runs. Each octave is halved at its
arithmetic middle (1, 1.5, 2, 3, 4, 6, …), so the exponent and first mantissa bit of a float32 give its bin without a
logarithm, whose rounding would differ between devices at the edges. A coefficient of exactly 0 does not fire; it is in
the first bin at or below zero.
"""

LOWEST_EXPONENT = -10
HIGHEST_EXPONENT = 13
HALF = 2 * (HIGHEST_EXPONENT - LOWEST_EXPONENT) + 2
"""Bins on one side of zero, including the open-ended outermost one."""
N_BINS = 2 * HALF


def edges() -> list[float]:
    """The `N_BINS + 1` edges in ascending order, infinite at both ends.

    Bins above zero hold `low <= c < high` (the first `0 < c < high`), bins below are mirrored.
    """
    positive = []
    for exponent in range(LOWEST_EXPONENT, HIGHEST_EXPONENT):
        positive += [2.0**exponent, 1.5 * 2.0**exponent]
    positive += [2.0**HIGHEST_EXPONENT, float("inf")]
    return [-edge for edge in reversed(positive)] + [0.0] + positive
