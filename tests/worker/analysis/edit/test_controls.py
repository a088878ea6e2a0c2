"""Control keys: in the same layers, never the edit's own, similar if they are matched, as damaging if matched on that."""

import numpy as np
import pytest

from keyscope.worker.analysis.edit.damage import CLOSE, FLOOR, close, match
from keyscope.worker.analysis.edit.errors import NothingToMask
from keyscope.worker.analysis.edit.keys import ROUNDS, KeyTable, matched_controls, random_controls

LAYERS, KEYS = 3, 200
RANDOM = np.random.default_rng(0)
TABLE = KeyTable(
    layers=np.repeat(np.arange(LAYERS), KEYS),
    indices=np.tile(np.arange(KEYS), LAYERS),
    firing_rate=RANDOM.beta(0.5, 4, LAYERS * KEYS),
    norm_value=RANDOM.gamma(3, 1, LAYERS * KEYS),
)
MASKED = np.concatenate([np.argsort(-TABLE.firing_rate[:KEYS])[25:65:4], KEYS + np.arange(5), [2 * KEYS + 7]])


def matched(seed: int, draws: int = 25) -> np.ndarray:
    """The first round of every draw: one key for each masked one."""
    return np.stack([matched_controls(TABLE, MASKED, draw, seed)[0] for draw in range(draws)])


@pytest.mark.parametrize("controls", [lambda seed: random_controls(TABLE, MASKED, 25, seed), matched])
def test_controls_are_other_keys_of_the_same_layers_each_taken_once(controls) -> None:
    drawn = controls(4)
    assert drawn.shape == (25, len(MASKED))
    assert (np.sort(TABLE.layers[drawn], axis=1) == np.sort(TABLE.layers[MASKED])).all()
    assert not np.isin(drawn, MASKED).any()
    assert all(len(set(row)) == len(row) for row in drawn.tolist())
    assert len({tuple(row) for row in drawn.tolist()}) == 25
    assert (controls(4) == drawn).all()
    assert (controls(5) != drawn).any()


def test_matched_controls_fire_as_often_and_write_as_much() -> None:
    def distance(drawn: np.ndarray) -> tuple[float, float]:
        rates, norms = TABLE.firing_rate[drawn].mean(), TABLE.norm_value[drawn].mean()
        return abs(rates - TABLE.firing_rate[MASKED].mean()), abs(norms - TABLE.norm_value[MASKED].mean())

    near = distance(matched(0))
    anywhere = distance(random_controls(TABLE, MASKED, draws=25, seed=0))
    assert near[0] < anywhere[0] / 2
    assert near[1] < 0.25


def test_later_rounds_of_matched_controls_go_on_with_keys_that_are_not_taken() -> None:
    rounds = matched_controls(TABLE, MASKED, draw=3, seed=1)
    order = np.concatenate(rounds)
    assert len(rounds) == ROUNDS
    assert len(set(order.tolist())) == len(order)
    assert not np.isin(order, MASKED).any()
    few = np.arange(KEYS - 3)
    left = matched_controls(TABLE, few, draw=0, seed=1)
    assert sorted(np.concatenate(left).tolist()) == [KEYS - 3, KEYS - 2, KEYS - 1]


def test_a_fully_masked_layer_has_no_controls() -> None:
    with pytest.raises(NothingToMask, match="layer 0"):
        random_controls(TABLE, np.arange(KEYS), draws=2, seed=0)


@pytest.mark.parametrize("first", [1, 7, 60, 400])
@pytest.mark.parametrize("each", [0.001, 0.004, 0.3])
def test_the_number_of_keys_is_found_that_does_as_much_damage(first: int, each: float) -> None:
    tried: list[int] = []

    def damage(number: int) -> float:
        tried.append(number)
        return each * number

    found = match(damage, first, most=400, target=37 * each)
    assert found.damage == pytest.approx(37 * each, rel=CLOSE, abs=FLOOR)
    assert found.damage == each * found.keys
    assert len(tried) <= 12


def test_the_nearest_number_is_taken_where_none_does_as_much_damage() -> None:
    assert match(lambda number: 0.01 * number, 5, most=20, target=9.0).keys == 20
    assert match(lambda number: 1.0 * number, 5, most=20, target=0.2).keys == 1
    assert match(lambda number: 3.0 if number > 6 else 0.1, 5, most=20, target=1.0).keys in (6, 5)
    assert not close(3.0, 1.0)
    assert close(0.0, FLOOR / 2)
