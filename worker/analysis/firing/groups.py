"""Groups of layers: each measure over all layers, halves and thirds, from the counts and draws of each layer."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.firing import HIGHEST, UNGROUPED
from keyscope.worker.analysis.firing.draws import Draws, Which
from keyscope.worker.analysis.intervals import ratio

FloatArray = npt.NDArray[np.float64]
Row = dict[str, Any]


def groups_of(n_layers: int) -> dict[str, slice]:
    """The layers of each group named in `keyscope.contract.analyses.firing.GROUPS`; empty groups are left out."""
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
    """A measure over several layers, numerators and denominators [2, layers, …] → […]; NaN if nothing was counted.

    The highest is that of the layer with the largest denominator, which is its fit.
    """
    if measure in HIGHEST:
        fittest = counted[1].argmax(axis=0)[None]
        return np.asarray(np.take_along_axis(ratio(*counted), fittest, 0)[0])
    return ratio(*counted.sum(axis=1))


def grouped(rows: Iterable[Row], drawn: Draws, n_layers: int) -> list[Row]:
    """The rows of groups of layers, except for `active`, whose denominator is tokens.

    A draw takes the same files in every layer, so the layers of a draw are joined first and the spread is taken of the
    result. Joining the layers' intervals would treat their errors as independent, which they are not.

    Args:
        rows: rows of single layers.
        drawn: their draws.
        n_layers: number of layers.
    """
    by_measure: dict[Which, FloatArray] = defaultdict(lambda: np.zeros((2, n_layers)))
    sizes: dict[Which, FloatArray] = defaultdict(lambda: np.zeros(n_layers))
    for row in rows:
        if row["measure"] not in (*UNGROUPED, "active"):
            which = row["measure"], row["control"], row["part"]
            weight = row["n"] if row.get("fit") is None else row["fit"]
            by_measure[which][:, row["layer"]] = row["estimate"] * weight, weight
            sizes[which][row["layer"]] = row["n"]
    found = []
    for (measure, control, part), counted in by_measure.items():
        draws = drawn.of(measure, control, part)
        for name, layers in groups_of(n_layers).items():
            estimate = float(together(measure, counted[:, layers]))
            if np.isnan(estimate):
                continue
            of_draws = None if draws is None else together(measure, draws[:, layers])
            ends = drawn.ends(measure, estimate, of_draws)
            which_row = {"measure": measure, "control": control, "part": part, "layers": name}
            found.append(
                which_row
                | {"estimate": estimate, "n": int(sizes[measure, control, part][layers].sum())}
                | ends._asdict()
            )
    return found
