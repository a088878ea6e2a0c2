from collections import Counter

import torch

from keyscope.worker.live.sampling import choose, uniform
from tests.worker.live.chance import chi_square, limit


def test_draws_are_below_one_and_depend_on_seed_and_step_alone() -> None:
    draws = {(seed, step): uniform(seed, step) for seed in range(40) for step in range(40)}
    assert all(0 <= draw < 1 for draw in draws.values())
    assert len(set(draws.values())) == len(draws)
    assert uniform(3, 4) == draws[3, 4]
    assert uniform(2**63 - 1, 0) != uniform(0, 0)


def test_a_draw_is_the_documented_number() -> None:
    digest = bytes.fromhex("5250a507f994740e")  # head -c 16 /dev/zero | b2sum -l 64
    assert abs(uniform(0, 0) - int.from_bytes(digest, "little") / 2**64) < 2**-52


def test_draws_are_spread_evenly() -> None:
    n, bins = 20_000, 20
    counts = Counter(int(uniform(0, step) * bins) for step in range(n))
    assert chi_square(counts, [n / bins] * bins) < limit(bins - 1)


def test_temperature_zero_takes_the_best_and_the_lowest_of_equals() -> None:
    assert choose(torch.tensor([1.0, 3.0, 3.0, 2.0]), 0.0, 0.99) == 1


def test_frequencies_follow_the_softmax_at_a_temperature() -> None:
    scores, temperature, n = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -torch.inf]), 0.7, 20_000
    counts = Counter(choose(scores, temperature, uniform(seed, 0)) for seed in range(n))
    expected = torch.softmax(scores.double() / temperature, 0) * n
    assert counts[5] == 0
    assert chi_square(counts, expected[:5].tolist()) < limit(4)


def test_a_draw_falls_on_the_first_index_whose_cumulative_probability_exceeds_it() -> None:
    scores = torch.tensor([0.25, 0.5, 0.25]).log()
    assert [choose(scores, 1.0, draw) for draw in (0.0, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 2**-52)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_an_impossible_index_is_never_taken() -> None:
    scores = torch.tensor([-torch.inf, 0.0, -torch.inf])
    assert {choose(scores, temperature, draw) for temperature in (1e-300, 1.0, 10.0) for draw in (0.0, 1 - 2**-52)} == {
        1
    }
