"""From the layers' predictions to counts: each measure of each layer at each token, summed by file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.analyses.agreement import LAYER_MEASURES
from keyscope.worker.analysis.agreement.lenses import settled
from keyscope.worker.analysis.agreement.parts import PARTS
from keyscope.worker.analysis.agreement.reading import Reading
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.walk import IntArray, Places

Which = tuple[str, ...]
"""What is summed, by name."""
MEASURES = (
    *((name, "") for name in LAYER_MEASURES),
    *((name, "other_position") for name in ("residual", "ff", "value")),
    ("value", "permuted_values"),
)
"""Measure and control of everything summed over all tokens.

`rank` is summed as its logarithm: ranks span four orders of magnitude, and a plain mean would be that of a few
failures.
"""
SPLIT_MEASURES = (("residual", ""), ("ff", ""), ("value", ""), ("settled", ""), ("residual", "other_position"))
"""Measure and control of everything summed for each part of a split."""


def outcomes(reading: Reading, following: Tensor, elsewhere: Tensor) -> dict[tuple[str, str], Tensor]:
    """Every measure at every token, [layers, n].

    `settled` marks one layer per token, the first from which the top token stays the model's own: running the product
    of agreement from the last layer down finds it. `depth` follows from it (prediction depth, Baldock et al. 2021).

    Args:
        reading: the layers' predictions.
        following: the token that actually follows each token, -1 at the end of a file, [n].
        elsewhere: the model's own token at another position, -1 if there is none, [n].
    """
    final, top = reading.final, reading.residual
    agrees, ff, before = top == final, reading.ff == top, reading.before == top
    earlier = torch.cat([torch.zeros_like(agrees[:1]), agrees[:-1]])
    changed = torch.cat([torch.zeros_like(agrees[:1]), top[1:] != top[:-1]])
    found = {
        "residual": agrees,
        "ff": reading.ff == final,
        "ff_raw": reading.ff_raw == final,
        "value": reading.value == final,
        "correct": top == following,
        "probability": reading.probability,
        "rank": reading.rank.double().log(),
        "top_ten": reading.rank <= 10,
        "settled": settled(agrees),
        "gained": agrees & ~earlier,
        "lost": earlier & ~agrees,
        "eliminated": changed,
        "split_residual": before & ~ff,
        "split_agreement": before & ff,
        "split_ffn": ff & ~before,
        "split_composition": ~ff & ~before,
        "zero_agreement": reading.zero_agreement,
        "active": reading.active,
    }
    controls = {(name, "other_position"): getattr(reading, name) == elsewhere for name in ("residual", "ff", "value")}
    controls["value", "permuted_values"] = reading.value_permuted == final
    return {(name, ""): values for name, values in found.items()} | controls


def half_a_window_away(final: Tensor, at: Places) -> Tensor:
    """The model's own token half a window further on, wrapping around its end; -1 where only one counts.

    The control for agreement by chance: some tokens are predicted all over a file, so a layer that always names a
    common token agrees often. Staying in the window keeps file, language and style the same, and only the place
    changes.
    """
    lengths = np.bincount(at.rows)
    other = final[torch.from_numpy(at.shifted(lengths // 2)).to(final.device)]
    return torch.where(torch.from_numpy(lengths[at.rows] == 1).to(final.device), -1, other)


class Sums:
    """Sums over the tokens of each file."""

    def __init__(
        self,
        files: Sequence[int],
        layers: int,
        measures: Sequence[Which] = MEASURES,
        of_parts: Sequence[Which] = SPLIT_MEASURES,
    ) -> None:
        """Start at zero.

        Args:
            files: the files.
            layers: number of layers.
            measures: what is summed over all tokens.
            of_parts: what is summed for each part of a split.
        """
        self._files, self._measures, self._of_parts = np.array(files), measures, of_parts
        self._n = np.zeros(len(files), dtype=np.int64)
        self._sums = np.zeros((len(files), layers, len(measures)))
        self._part_n = np.zeros((len(files), len(PARTS)), dtype=np.int64)
        self._part_sums = np.zeros((len(files), len(PARTS), layers, len(of_parts)))

    def add(self, found: Mapping[Any, Tensor], files: IntArray, parts: IntArray) -> None:
        """Add tokens: their measures [layers, n], their files [n] and their three parts [n, 3]."""
        places = np.searchsorted(self._files, files)
        here = np.unique(places)
        local = np.searchsorted(here, places)
        in_file = _one_hot(local[:, None], len(here))
        in_part = _one_hot(local[:, None] * len(PARTS) + parts, len(here) * len(PARTS))
        self._n[here] += in_file.sum(axis=0).astype(np.int64)
        self._part_n[here] += in_part.sum(axis=0).astype(np.int64).reshape(len(here), len(PARTS))
        self._sums[here] += _summed(in_file, found, self._measures)
        self._part_sums[here] += _summed(in_part, found, self._of_parts).reshape(
            len(here), len(PARTS), *self._part_sums.shape[2:]
        )

    def arrays(self, prefix: str = "") -> Arrays:
        """The sums as part of the result of a step, their names after the prefix."""
        return {
            f"{prefix}files": self._files,
            f"{prefix}n": self._n,
            f"{prefix}sums": self._sums,
            f"{prefix}part_n": self._part_n,
            f"{prefix}part_sums": self._part_sums,
        }


def _one_hot(numbers: IntArray, size: int) -> npt.NDArray[np.float64]:
    """Members as 0 and 1, [n, groups of each] → [n, size]."""
    found = np.zeros((len(numbers), size))
    np.put_along_axis(found, numbers, 1.0, axis=1)
    return found


def _summed(
    member: npt.NDArray[np.float64], found: Mapping[Any, Tensor], names: Sequence[Which]
) -> npt.NDArray[np.float64]:
    """Sum measures over the members of each group, [groups, layers, measures], in float64 on the device.

    Log ranks and probabilities are summed over whole corpora, and float32 would drop small terms.
    """
    stacked = torch.stack([found[name].double() for name in names], dim=-1)  # [layers, n, measures]
    groups = torch.from_numpy(member.T.copy()).to(stacked.device)
    summed: npt.NDArray[np.float64] = torch.einsum("gn,lnm->glm", groups, stacked).cpu().numpy()
    return summed
