"""Random keys to mask as a control."""

import random
from collections import Counter
from collections.abc import Collection, Sequence

from keyscope.contract.keys import KeyId


def random_keys(keys_per_layer: Sequence[int], picked: Collection[KeyId], draw: int) -> list[KeyId]:
    """Draw as many other keys of each layer as were picked there; equal draws give equal keys.

    A layer with fewer other keys gives all it has.
    """
    rng = random.Random(draw)  # noqa: S311 - a control, no secret
    found = []
    for layer, wanted in sorted(Counter(key.layer for key in picked).items()):
        taken = {key.index for key in picked if key.layer == layer}
        others = [index for index in range(keys_per_layer[layer]) if index not in taken]
        found += [KeyId(layer, index) for index in rng.sample(others, min(wanted, len(others)))]
    return found
