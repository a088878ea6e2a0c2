"""Splits of the tokens: by role of the next token, by whether it continues a word, and by position in the window."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.walk import IntArray, Places
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.syntax.role import ROLES
from keyscope.worker.syntax.roles import continues, token_roles

POSITIONS = (0, 4, 16, 64, 256)
"""First positions of the parts of the split by position: powers of four, as context helps less and less."""
PARTS = (
    *(("role", role.value) for role in ROLES),
    ("role", "end_of_file"),
    ("continuation", "begins"),
    ("continuation", "goes_on"),
    *(("position", f"{low}-{high - 1}") for low, high in pairwise(POSITIONS)),
    ("position", f"{POSITIONS[-1]}-"),
)
"""The parts of all splits; each token is in exactly one part of each split."""
_END_OF_FILE = len(ROLES)
_BEGINS = _END_OF_FILE + 1
_FIRST_POSITION = _BEGINS + 2


class NextTokens:
    """Roles of the tokens that follow those of some files."""

    def __init__(self, store: TokenStore, files: Sequence[int]) -> None:
        self._store = store
        self._files = np.array(files)
        roles: list[npt.ArrayLike] = []
        goes_on: list[npt.ArrayLike] = []
        for file in files:
            text, starts = store.text(file), store.starts[store.tokens_of(file)]
            language = store.language_names[store.languages[file]]
            roles += [token_roles(text, language, starts)[1:], [_END_OF_FILE]]
            goes_on += [continues(text, starts)[1:], [False]]
        self._roles = np.concatenate(roles).astype(np.int64)
        self._goes_on = np.concatenate(goes_on).astype(np.int64)
        lengths = store.lengths[self._files]
        self._firsts = np.cumsum(lengths) - lengths

    def parts(self, at: Places) -> IntArray:
        """Indices into PARTS of each token's three parts, [n, 3]."""
        first = self._firsts[np.searchsorted(self._files, at.files)]
        place = first + at.numbers - self._store.offsets[at.files]
        bucket = np.searchsorted(POSITIONS, at.positions, side="right") - 1
        return np.stack([self._roles[place], _BEGINS + self._goes_on[place], _FIRST_POSITION + bucket], axis=1)
