"""Rows of the tables by layer and by group of layers: every measure with its controls."""

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.firing import CLASSES, FIRING_GROUPS, FIRING_LAYERS
from keyscope.worker.analysis.firing import languages
from keyscope.worker.analysis.firing.corpus import Corpus, Counted
from keyscope.worker.analysis.firing.detectors import new_tokens
from keyscope.worker.analysis.firing.draws import Draws, Ends
from keyscope.worker.analysis.firing.groups import Row, grouped, groups_of
from keyscope.worker.analysis.firing.keys import Keys
from keyscope.worker.analysis.intervals import ratio, share_interval
from keyscope.worker.rows import Columns, insert

BoolArray = npt.NDArray[np.bool_]


def write_layers(connection: duckdb.DuckDBPyConnection, keys: Keys, drawn: Draws) -> None:
    """Write the rows of every layer and group of layers, with intervals from the draws."""
    layers = _Layers(connection, drawn)
    for layer, part in enumerate(keys.parts()):
        _summarise(layers, keys, layer, part)
    _summarise_tokens(layers, keys)
    _summarise_activity(layers, keys.corpus, keys.counted)
    layers.write(len(keys.corpus.subject.manifest.model.keys_per_layer))


class _Layers:
    """Collected rows by layer, and the rows of groups that follow from them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, drawn: Draws) -> None:
        self._connection, self._drawn = connection, drawn
        self._rows: list[Row] = []
        self._groups: list[Row] = []

    def add(
        self,
        measure: str,
        layer: int,
        estimate: float,
        n: int,
        control: str = "",
        part: str = "",
        ends: Ends | None = None,
        fit: float | None = None,
    ) -> None:
        """Add an estimate with the given interval, else with that of its draws; skip NaN.

        `fit` is what decides among layers in a group, where it is not the estimate.
        """
        if np.isnan(estimate):
            return
        ends = ends or self._ends(measure, layer, estimate, control, part)
        row: Row = {"measure": measure, "control": control, "part": part, "layer": layer}
        self._rows.append(row | {"estimate": estimate, "n": n, "fit": fit} | ends._asdict())

    def share(self, measure: str, layer: int, found: BoolArray, control: str = "") -> None:
        """Add the share of keys that are marked."""
        self.add(measure, layer, float(found.mean()) if len(found) else np.nan, len(found), control)

    def add_active(self, layers: str, estimate: float, n: int, part: str, ends: Ends) -> None:
        """Add the mean share of firing keys over a group of layers."""
        row: Row = {"measure": "active", "control": "", "part": part, "layers": layers}
        self._groups.append(row | {"estimate": estimate, "n": n} | ends._asdict())

    def write(self, n_layers: int) -> None:
        """Write both tables, each in its order."""
        groups = self._groups + grouped(self._rows, self._drawn, n_layers)
        for table, rows in ((FIRING_LAYERS, self._rows), (FIRING_GROUPS, groups)):
            columns: Columns = {name: np.array([row[name] for row in rows]) for name in table.names}
            insert(self._connection, table, columns, order=table.sorted_by)

    def _ends(self, measure: str, layer: int, estimate: float, control: str, part: str) -> Ends:
        drawn = self._drawn.of(measure, control, part)
        return self._drawn.ends(measure, estimate, None if drawn is None else ratio(*drawn[:, layer]))


def _summarise(layers: _Layers, keys: Keys, layer: int, part: slice) -> None:
    settings, weights = keys.settings, keys.weights[layer]
    layers.share("dead", layer, weights.dead)
    for number, name in enumerate(("positional", "positional_strong")):
        layers.share(name, layer, keys.information[number, part] > settings.position_information)
        layers.share(name, layer, keys.shifted_information[number, part] > settings.position_information, "shifted")
    detects: BoolArray = np.any(keys.detects[:, part], axis=2)
    for name, found in zip(("detectors", "detectors_strong", "detectors_peak"), detects, strict=True):
        layers.share(name, layer, found)
    _summarise_suppression(layers, keys, layer, part, np.any(detects, axis=0))
    for name in CLASSES:
        for measure, basis in ((f"folded_{name}", "folded"), (name, "raw")):
            layers.share(measure, layer, keys.classes[basis][part] == name)
            layers.share(measure, layer, keys.gaussian_classes[layer][basis] == name, "gaussian")
    for name, cosines in (("cos_key_value", weights.cos_key_value), ("cos_up_value", weights.cos_up_value)):
        layers.add(name, layer, float(cosines.mean()), len(cosines))
    if keys.several:
        _summarise_languages(layers, keys, layer, part)


def _summarise_suppression(layers: _Layers, keys: Keys, layer: int, part: slice, detectors: BoolArray) -> None:
    own, other = keys.own_logits[part], keys.other_logits[part]
    for control, logits in (("", own), ("dealt", other)):
        there = ~np.isnan(logits)
        layers.share("suppressing", layer, logits[there] < 0, control)
        layers.share("suppressing_detectors", layer, logits[there & detectors] < 0, control)


def _summarise_languages(layers: _Layers, keys: Keys, layer: int, part: slice) -> None:
    specific, names = keys.specific.language[part], keys.corpus.names
    layers.share("language", layer, specific >= 0)
    for number, name in enumerate(names):
        layers.add("language", layer, float((specific == number).mean()), len(specific), part=name)
    for control, found in (("", keys.identification(part)), ("drawn", keys.by_chance(part, layer))):
        layers.share("language_id", layer, found.f1.max(axis=1) >= keys.settings.identifying_f1, control)
        fits, f1 = languages.best(found)
        for name, number in (("", int(fits.argmax())), *((name, number) for number, name in enumerate(names))):
            layers.add("best_f1", layer, float(f1[number]), len(found.f1), control, name, fit=float(fits[number]))


def _summarise_tokens(layers: _Layers, keys: Keys) -> None:
    detects: BoolArray = np.any(keys.detects, axis=0)
    sizes = keys.corpus.subject.manifest.model.keys_per_layer
    tokens = [np.unique(keys.candidates[part][detects[part]]) for part in keys.parts()]
    for layer, (found, new) in enumerate(zip(tokens, new_tokens(tokens), strict=True)):
        layers.add("tokens", layer, len(found), sizes[layer])
        layers.add("new_tokens", layer, len(new) / len(found) if len(found) else np.nan, len(found))


def _summarise_activity(layers: _Layers, corpus: Corpus, counted: Counted) -> None:
    units = corpus.subject.units
    sizes = np.array(corpus.subject.manifest.model.keys_per_layer)
    of_file = corpus.subject.store.languages[counted.files]
    chosen = [("", np.ones(len(of_file), dtype=bool))]
    if len(corpus.names) > 1:
        chosen += [(name, of_file == number) for number, name in enumerate(corpus.names)]
    for name, files in chosen:
        tokens, members = counted.file_tokens[files], units.members(counted.files[files])
        n, rests_on = int(tokens.sum()), int((tokens > 0).sum())
        found = share_interval(counted.file_fires[files] / sizes, tokens, members)
        for layer in range(len(sizes)):
            estimate, low, high, projects = (float(each[layer]) for each in found)
            layers.add("active", layer, estimate, n, part=name, ends=Ends(low, high, rests_on, projects))
        for group, chosen_layers in groups_of(len(sizes)).items():
            fires = counted.file_fires[files][:, chosen_layers].sum(axis=1) / sizes[chosen_layers].sum()
            of_group = share_interval(fires, tokens, members)
            estimate, low, high, projects = map(float, of_group)
            layers.add_active(group, estimate, n, name, Ends(low, high, rests_on, projects))
