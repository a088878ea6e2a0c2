"""Layers together: each measure over all of them, over halves and over thirds, from what was counted and drawn of each."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.firing import HIGHEST, UNGROUPED
from keyscope.worker.analysis.bootstrap import ratio
from keyscope.worker.analysis.firing.draws import Drawn, Which, ends_about

FloatArray = npt.NDArray[np.float64]
Row = dict[str, Any]


def groups_of(n_layers: int) -> dict[str, slice]:
    """Which layers are in each group, as `keyscope.contract.analyses.firing.GROUPS` has them; a group of none is left out."""
    half, third = n_layers // 2, max(1, n_layers // 3)
    groups = {
        "all layers": slice(n_layers),
        "lower half": slice(half),
        "upper half": slice(half, n_layers),
        "lowest third": slice(third),
        "highest third": slice(n_layers - third, n_layers),
    }
    return {name: layers for name, layers in groups.items() if range(n_layers)[layers]}


def together(measure: str, counted: FloatArray) -> FloatArray:
    """A measure of several layers, [2, layers, …] numerators and denominators → […]; NaN where there is nothing to count."""
    if measure in HIGHEST:
        return np.asarray(ratio(*counted).max(axis=0))
    return ratio(*counted.sum(axis=1))


def grouped(rows: Iterable[Row], drawn: Drawn, n_layers: int) -> list[Row]:
    """The rows of layers together, but for the share that fires, which is of tokens.

    A draw takes the same files in every layer, so the draws of the layers are joined before their spread is taken.

    Args:
        rows: of single layers.
        drawn: what was drawn of them.
        n_layers: how many there are.
    """
    by_measure: dict[Which, FloatArray] = defaultdict(lambda: np.zeros((2, n_layers)))
    for row in rows:
        if row["measure"] not in (*UNGROUPED, "active"):
            which = row["measure"], row["control"], row["part"]
            by_measure[which][:, row["layer"]] = row["estimate"] * row["n"], row["n"]
    found = []
    for (measure, control, part), counted in by_measure.items():
        draws = drawn.get((measure, control, part))
        for name, layers in groups_of(n_layers).items():
            estimate = float(together(measure, counted[:, layers]))
            if np.isnan(estimate):
                continue
            of_draws = None if draws is None else together(measure, draws[:, layers])
            low, high = ends_about(measure, estimate, of_draws)
            which_row = {"measure": measure, "control": control, "part": part, "layers": name}
            found.append(
                which_row | {"estimate": estimate, "low": low, "high": high, "n": int(counted[1, layers].sum())}
            )
    return found
