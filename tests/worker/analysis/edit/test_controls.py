"""Control keys: in the same layers, never the edit's own, and similar if they are matched."""

import numpy as np
import pytest

from keyscope.worker.analysis.edit.errors import NothingToMask
from keyscope.worker.analysis.edit.keys import KeyTable, matched_controls, random_controls

LAYERS, KEYS = 3, 200
RANDOM = np.random.default_rng(0)
TABLE = KeyTable(
    layers=np.repeat(np.arange(LAYERS), KEYS),
    indices=np.tile(np.arange(KEYS), LAYERS),
    firing_rate=RANDOM.beta(0.5, 4, LAYERS * KEYS),
    norm_value=RANDOM.gamma(3, 1, LAYERS * KEYS),
)
MASKED = np.concatenate([np.argsort(-TABLE.firing_rate[:KEYS])[25:65:4], KEYS + np.arange(5), [2 * KEYS + 7]])


@pytest.mark.parametrize("controls", [random_controls, matched_controls])
def test_controls_are_other_keys_of_the_same_layers_each_taken_once(controls) -> None:
    drawn = controls(TABLE, MASKED, draws=25, seed=4)
    assert drawn.shape == (25, len(MASKED))
    assert (TABLE.layers[drawn] == TABLE.layers[MASKED]).all()
    assert not np.isin(drawn, MASKED).any()
    assert all(len(set(row)) == len(row) for row in drawn.tolist())
    assert len({tuple(row) for row in drawn.tolist()}) == 25
    assert (controls(TABLE, MASKED, draws=25, seed=4) == drawn).all()
    assert (controls(TABLE, MASKED, draws=25, seed=5) != drawn).any()


def test_matched_controls_fire_as_often_and_write_as_much() -> None:
    def distance(drawn: np.ndarray) -> tuple[float, float]:
        rates, norms = TABLE.firing_rate[drawn].mean(), TABLE.norm_value[drawn].mean()
        return abs(rates - TABLE.firing_rate[MASKED].mean()), abs(norms - TABLE.norm_value[MASKED].mean())

    matched = distance(matched_controls(TABLE, MASKED, draws=25, seed=0))
    random = distance(random_controls(TABLE, MASKED, draws=25, seed=0))
    assert matched[0] < random[0] / 2
    assert matched[1] < 0.25


def test_a_fully_masked_layer_has_no_controls() -> None:
    with pytest.raises(NothingToMask, match="layer 0"):
        random_controls(TABLE, np.arange(KEYS), draws=2, seed=0)
