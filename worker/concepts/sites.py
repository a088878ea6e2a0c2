"""The split of files into those keys are picked on and those held out, and the sites where a concept is predicted."""

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.worker.concepts.matching import token_mask
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import mix

_SALT = np.uint64(0x5EED_0F_F11E5)
"""Makes the split independent of everything else that is drawn by the files' seeds."""

BoolArray = npt.NDArray[np.bool_]


def split(store: TokenStore) -> BoolArray:
    """Mark the files that are held out, [files]: about half, by content alone, so all analyses agree on them."""
    with np.errstate(over="ignore"):
        drawn = mix(store.seeds + _SALT)
    held_out: BoolArray = (drawn >> np.uint64(63)).astype(bool)
    return held_out


def sites(concept: Concept, store: TokenStore, file: int, window: int) -> BoolArray:
    """Mark the sites of a concept in a file, [tokens of the file]: its tokens that are predicted from the one before.

    A window's first token is not: the model sees nothing before it.
    """
    mask = token_mask(concept, store, file)
    mask[::window] = False
    return mask
