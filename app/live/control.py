"""Random keys to mask as a control."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from keyscope.contract.keys import KeyId, Stack


def random_keys(keys_in: Callable[[Stack], Sequence[int]], picked: Collection[KeyId], draw: int) -> list[KeyId]:
    """Draw as many other keys of each layer as were picked there; equal draws give equal keys.

    A layer with fewer other keys gives all it has. `keys_in` tells how many each layer of a stack has.
    """
    rng = random.Random(draw)  # noqa: S311 - a control, no secret
    found = []
    for (layer, stack), wanted in sorted(Counter((key.layer, key.stack) for key in picked).items()):
        taken = {key.index for key in picked if (key.layer, key.stack) == (layer, stack)}
        others = [index for index in range(keys_in(stack)[layer]) if index not in taken]
        found += [KeyId(layer, index, stack) for index in rng.sample(others, min(wanted, len(others)))]
    return found
