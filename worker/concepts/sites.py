"""Which files concepts are picked on and which are kept for measuring, and where a concept is predicted."""

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.worker.concepts.matching import token_mask
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import mix

_SALT = np.uint64(0x5EED_0F_F11E5)

BoolArray = npt.NDArray[np.bool_]


def split(store: TokenStore) -> BoolArray:
    """Which files are held out, [files]: about half, by their content alone, so that every analysis has the same."""
    with np.errstate(over="ignore"):
        drawn = mix(store.seeds + _SALT)
    held_out: BoolArray = (drawn >> np.uint64(63)).astype(bool)
    return held_out


def sites(concept: Concept, store: TokenStore, file: int, window: int) -> BoolArray:
    """Which tokens of a file are sites of a concept, [tokens of the file]: of it, and predicted from the one before.

    A window's first token has no token before it that the model sees, so it is none.
    """
    mask = token_mask(concept, store, file)
    mask[::window] = False
    return mask
