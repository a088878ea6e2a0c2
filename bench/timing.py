"""Timing several ways of doing the same, interleaved, so that whatever else the machine does hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def now(device: torch.device) -> float:
    """Seconds: CPU time of this process, which other processes disturb less than wall time; on CUDA wall time, synchronised."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def interleaved(
    rows: Mapping[str, Callable[[int], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each row in each round, after one round to warm up; the order rotates from round to round.

    Args:
        rows: what to time, by name; each gets the number of the round, from 0, the warming one included.
        rounds: how many are measured.
        device: where the work is done.
    """
    names = list(rows)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = now(device)
            rows[name](number)
            seconds[name].append(now(device) - started)
    return {name: taken[1:] for name, taken in seconds.items()}


def ratio(taken: list[float], reference: list[float]) -> float:
    """The median over rounds of the ratios within a round."""
    return statistics.median(one / other for one, other in zip(taken, reference, strict=True))
