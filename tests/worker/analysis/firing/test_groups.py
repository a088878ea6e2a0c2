"""Groups of layers: weighted by denominators, with intervals from draws that all layers share."""

import numpy as np
import pytest

from keyscope.contract.analyses.firing import GROUPS
from keyscope.worker.analysis.firing.draws import Drawn, Draws
from keyscope.worker.analysis.firing.groups import grouped, groups_of, together


def _row(measure: str, layer: int, estimate: float, n: int, control: str = "") -> dict[str, object]:
    return {"measure": measure, "control": control, "part": "", "layer": layer, "estimate": estimate, "n": n}


def _draws(drawn: Drawn) -> Draws:
    return Draws(drawn, np.full(12, 100), 40, 12)


def test_halves_and_thirds_are_of_whole_layers() -> None:
    layers = list(range(7))
    found = {name: layers[part] for name, part in groups_of(7).items()}
    assert found == {
        "all layers": layers,
        "lower half": [0, 1, 2],
        "upper half": [3, 4, 5, 6],
        "lowest third": [0, 1],
        "highest third": [5, 6],
    }
    assert set(found) == set(GROUPS)


def test_a_model_of_one_layer_has_no_lower_half() -> None:
    assert "lower half" not in groups_of(1)
    assert groups_of(1)["lowest third"] == slice(1)


def test_layers_are_weighted_by_their_denominators() -> None:
    assert together("dead", np.array([[1.0, 3.0], [10.0, 30.0]])) == pytest.approx(0.1)
    assert together("suppressing", np.array([[4.0, 0.0], [5.0, 0.0]])) == pytest.approx(0.8)
    assert np.isnan(together("suppressing", np.zeros((2, 2))))


def test_the_layer_of_best_fit_represents_its_group() -> None:
    fits = np.array([0.8, 0.6, 0.7])
    assert together("best_f1", np.array([[0.5, 0.9, 0.7] * fits, fits])) == pytest.approx(0.5)


def test_layers_that_offset_each_other_in_every_draw_have_a_narrow_interval_together() -> None:
    drawn = np.random.default_rng(0).integers(0, 11, 200).astype(float)
    draws = np.stack([[drawn, 10 - drawn], np.full((2, 200), 10.0)])
    rows = [_row("dead", layer, 0.5, 10) for layer in range(2)]
    found = {row["layers"]: row for row in grouped(rows, _draws({("dead", "", ""): draws}), 2)}
    assert (
        found["all layers"]["estimate"],
        found["all layers"]["low"],
        found["all layers"]["high"],
        found["all layers"]["n"],
    ) == (
        0.5,
        0.5,
        0.5,
        20,
    )
    assert found["lower half"]["high"] - found["lower half"]["low"] > 0.8


def test_an_empty_layer_has_no_weight_and_a_measure_without_draws_no_interval() -> None:
    rows = [_row("suppressing_detectors", 1, 0.25, 4), _row("active", 0, 0.5, 1000), _row("active", 1, 0.5, 1000)]
    found = {row["layers"]: row for row in grouped(rows, _draws({}), 2)}
    assert set(found) == {"all layers", "upper half", "highest third"}
    assert (found["all layers"]["measure"], found["all layers"]["estimate"], found["all layers"]["n"]) == (
        "suppressing_detectors",
        0.25,
        4,
    )
    assert np.isnan(found["all layers"]["low"])
    assert np.isnan(found["all layers"]["high"])
