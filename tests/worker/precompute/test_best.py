"""The kernel that keeps the best few entries of many lists."""

import numpy as np
import pytest
import torch

from keyscope.worker.precompute.best import NO_OWNER, BestEntries, Candidates

LISTS, SLOTS = 7, 4
CPU = torch.device("cpu")


def _random(n: int, seed: int) -> Candidates:
    """Candidates with many exact ties of score, positions ascending within a file."""
    random = np.random.default_rng(seed)
    position = np.arange(n)
    return Candidates(
        torch.from_numpy(random.integers(0, LISTS, n)),
        torch.from_numpy(random.integers(-5, 6, n) / 4).float(),
        torch.from_numpy(random.integers(0, 9, n)).int(),
        torch.from_numpy(position).int(),
        torch.from_numpy(random.standard_normal(n)).float(),
    )


def _expected(candidates: Candidates) -> list[list[tuple[float, int, int, float]]]:
    """The expected entries, by sorting everything in plain Python."""
    rows = list(
        zip(
            candidates.lists.tolist(),
            (-candidates.scores).tolist(),
            candidates.owners.tolist(),
            candidates.positions.tolist(),
            candidates.values.tolist(),
            strict=True,
        )
    )
    found = []
    for each in range(LISTS):
        best: dict[int, tuple[float, int, int, float]] = {}
        for _, score, file, position, value in sorted(row for row in rows if row[0] == each):
            best.setdefault(file, (-score, file, position, value))
        found.append(sorted(best.values(), key=lambda entry: (-entry[0], entry[1]))[:SLOTS])
    return found


def _kept(best: BestEntries) -> list[list[tuple[float, int, int, float]]]:
    found = []
    for each in range(LISTS):
        rows = zip(
            best.scores[each].tolist(),
            best.owners[each].tolist(),
            best.positions[each].tolist(),
            best.values[each].tolist(),
            strict=True,
        )
        found.append(sorted((row for row in rows if row[1] != NO_OWNER), key=lambda row: (-row[0], row[1])))
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("piece", [1, 3, 40, 400])
def test_what_is_kept_is_what_a_sort_would_keep_in_batches_of_any_size(seed: int, piece: int) -> None:
    candidates = _random(400, seed)
    best = BestEntries(LISTS, SLOTS, CPU)
    for start in range(0, 400, piece):
        best.offer(candidates.take(torch.arange(start, min(start + piece, 400))))
    assert _kept(best) == _expected(candidates)


def test_leaving_out_what_is_not_wanted_changes_nothing() -> None:
    candidates = _random(400, seed=1)
    best = BestEntries(LISTS, SLOTS, CPU)
    left_out = 0
    for start in range(0, 400, 10):
        part = candidates.take(torch.arange(start, start + 10))
        wanted = best.wants(part.scores, part.owners, part.lists).nonzero()[:, 0]
        left_out += 10 - len(wanted)
        best.offer(part.take(wanted))
    assert left_out > 100
    assert _kept(best) == _expected(candidates)


def test_files_may_come_in_any_order() -> None:
    candidates = _random(400, seed=2)
    by_file = torch.argsort(candidates.owners, stable=True, descending=True)
    best = BestEntries(LISTS, SLOTS, CPU)
    for part in by_file.split(7):
        best.offer(candidates.take(part))
    assert _kept(best) == _expected(candidates)


def test_entries_below_the_floor_are_not_wanted_and_equal_ones_are() -> None:
    best = BestEntries(2, SLOTS, CPU, floor=torch.tensor([0.5, -torch.inf]))
    wanted = best.wants(torch.tensor([[0.4, 0.4], [0.5, 0.5]]), torch.tensor([[1], [2]]))
    assert wanted.tolist() == [[False, True], [True, True]]


def test_negative_scores_are_kept_where_nothing_better_comes() -> None:
    best = BestEntries(1, SLOTS, CPU)
    zero = torch.zeros(1, dtype=torch.int64)
    best.offer(Candidates(zero, torch.tensor([-3.0]), zero.int(), zero.int(), torch.tensor([-3.0])))
    assert best.scores[0].max() == -3


def test_the_slots_given_back_say_where_each_accepted_entry_was_written() -> None:
    candidates = _random(60, seed=3)
    best = BestEntries(LISTS, SLOTS, CPU)
    written: dict[int, int] = {}
    for start in range(0, 60, 20):
        taken, slots = best.offer(candidates.take(torch.arange(start, start + 20)))
        written |= dict(zip(slots.tolist(), (taken + start).tolist(), strict=True))
    for slot, candidate in written.items():
        assert best.positions.view(-1)[slot] == candidates.positions[candidate]
