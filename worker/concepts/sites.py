"""The split of files into those keys are picked on and those held out."""

import numpy as np
import numpy.typing as npt

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
