from collections import Counter

from keyscope.app.live.control import random_keys
from keyscope.contract.keys import KeyId

PICKED = [KeyId(0, 1), KeyId(0, 5), KeyId(2, 9)]
SIZES = [40, 40, 40]


def test_the_control_has_as_many_other_keys_of_each_layer() -> None:
    for draw in range(20):
        control = random_keys(lambda _stack: SIZES, PICKED, draw)
        assert Counter(key.layer for key in control) == {0: 2, 2: 1}
        assert len(set(control)) == 3
        assert not set(control) & set(PICKED)
        assert all(key.index < 40 for key in control)


def test_equal_draws_give_equal_keys_and_others_give_others() -> None:
    assert random_keys(lambda _stack: SIZES, PICKED, 3) == random_keys(lambda _stack: SIZES, list(reversed(PICKED)), 3)
    assert len({tuple(random_keys(lambda _stack: SIZES, PICKED, draw)) for draw in range(10)}) == 10


def test_a_layer_with_too_few_other_keys_gives_all_it_has() -> None:
    assert random_keys(lambda _stack: [3], [KeyId(0, 0), KeyId(0, 2)], 0) == [KeyId(0, 1)]
