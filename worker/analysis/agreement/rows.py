"""From the steps' results to rows: every estimate with its interval, over projects."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from keyscope.contract.analyses.agreement import (
    AGREEMENT,
    AGREEMENT_CONTEXTS,
    AGREEMENT_KEYS,
    AGREEMENT_LENSES,
    SHARED_OUT,
)
from keyscope.contract.tables import Table
from keyscope.worker.analysis.agreement.lenses import LENS_MEASURES, LENS_SPLITS
from keyscope.worker.analysis.agreement.outcomes import MEASURES, SPLIT_MEASURES
from keyscope.worker.analysis.agreement.parts import PARTS
from keyscope.worker.analysis.agreement.values import PROJECTIONS
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.intervals import Interval, ratio_interval, share_interval
from keyscope.worker.analysis.units import Members, Units
from keyscope.worker.rows import insert

TENTHS = 10
_NO_SHARES = {"depth", "log_frequency"}
"""Measures by size of context that are no shares of tokens."""
_FROM_SECOND = {"lost", "eliminated"}
"""Measures of a change since the layer below, which the first layer does not have."""
_OWN_OUTPUT = {"residual", "top_ten", "lost"}
"""Measures that are known in the last layer, whose output is the model's own."""
_SAME_CONTEXT = {"residual_full", "same_as_full"}
"""Measures that are known at the longest context, which is compared with itself; again in the last layer."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Names = Sequence[tuple[str, str]]


class _Rows:
    """Rows of one table, collected as columns."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._columns: dict[str, list[Any]] = defaultdict(list)

    def add(self, found: Interval, cell: int | tuple[int, ...], **named: object) -> None:
        """Add one cell of the estimates with the columns that name it; skip it if nothing was counted."""
        if np.isnan(found.estimate[cell]):
            return
        numbers = {name: float(getattr(found, name)[cell]) for name in Interval._fields}
        stored = {name: None if np.isnan(number) else number for name, number in numbers.items()}
        for name, value in (stored | named).items():
            self._columns[name].append(value)

    def write(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._columns:
            columns = {name: pa.array(column) for name, column in self._columns.items()}
            insert(connection, self._table, columns, order=self._table.sorted_by)


def write_layers(
    connection: duckdb.DuckDBPyConnection, results: Sequence[Arrays], languages: npt.NDArray[Any], units: Units
) -> None:
    """Write every measure by layer, over all tokens and by split; `languages` names each file's language."""
    rows = _Rows(AGREEMENT)
    if results:
        files, n, sums, part_n, part_sums = (
            np.concatenate([arrays[name] for arrays in results])
            for name in ("files", "n", "sums", "part_n", "part_sums")
        )
        _add_layers(rows, sums, n, units.members(files), MEASURES, split="all", part="all")
        for language in dict.fromkeys(languages.tolist()):
            of_it = languages[files] == language
            _add_layers(
                rows, sums[of_it], n[of_it], units.members(files[of_it]), MEASURES, split="language", part=language
            )
        for number, (split, part) in enumerate(PARTS):
            _add_layers(
                rows,
                part_sums[:, number],
                part_n[:, number],
                units.members(files),
                SPLIT_MEASURES,
                split=split,
                part=part,
            )
    rows.write(connection)


def _add_layers(rows: _Rows, sums: FloatArray, n: IntArray, units: Members, names: Names, **which: str) -> None:
    """Add rows of measures summed by file: `sums` [files, layers, measures] and `n` [files]."""
    counted = {"n": int(n.sum()), "files": int((n > 0).sum())} | which
    if not counted["n"]:
        return
    shares, means = share_interval(sums, n, units), ratio_interval(sums, n, units)
    layers = sums.shape[1]
    for number, (measure, control) in enumerate(names):
        # exp of a mean of logarithms is the geometric mean
        value = _part(means, number).exp().within(1, np.inf) if measure == "rank" else _part(shares, number)
        for layer in range(1 if measure in _FROM_SECOND else 0, layers):
            certain = measure in _OWN_OUTPUT and not control and layer == layers - 1
            found = value.certain() if certain else value
            rows.add(found, layer, measure=measure, control=control, layer=layer, **counted)
    shared = [name for name in names if name[0] in SHARED_OUT]
    if shared:
        over_layers = share_interval(sums[:, :, [names.index(name) for name in shared]].mean(axis=1), n, units)
        for number, (measure, control) in enumerate(shared):
            rows.add(over_layers, number, measure=measure, control=control, layer=None, **counted)
    settled = sums[:, :, names.index(("settled", ""))]
    depth = ratio_interval(settled @ np.arange(layers), n, units).within(0, layers - 1)
    rows.add(depth, (), measure="depth", control="", layer=None, **counted)
    saturated = share_interval(settled[:, :-1].sum(axis=1), n, units)
    rows.add(saturated, (), measure="saturated", control="", layer=None, **counted)


def write_lenses(
    connection: duckdb.DuckDBPyConnection,
    windows: Sequence[Arrays],
    contexts: Sequence[Arrays],
    sizes: Sequence[int],
    units: Units,
) -> None:
    """Write what both lenses read in the files that neither was fitted on, over all tokens, by split and by context."""
    rows = _Rows(AGREEMENT_LENSES)
    if windows:
        files, n, sums, part_n, part_sums = (
            np.concatenate([arrays[f"lens_{name}"] for arrays in windows])
            for name in ("files", "n", "sums", "part_n", "part_sums")
        )
        _add_lenses(rows, sums, n, units.members(files), LENS_MEASURES, split="all", part="all")
        for number, (split, part) in enumerate(PARTS):
            members = units.members(files)
            _add_lenses(rows, part_sums[:, number], part_n[:, number], members, LENS_SPLITS, split=split, part=part)
    if contexts and all("ridge_tops" in arrays for arrays in contexts):
        files = np.concatenate([arrays["files"] for arrays in contexts])
        tested = units.test[files]
        for name, lens in (("tops", "logit"), ("ridge_tops", "ridge")):
            tops, final = (np.concatenate([arrays[each] for arrays in contexts], axis=-1) for each in (name, "final"))
            for size, top, own in zip(sizes, tops[..., tested], final[..., tested], strict=True):
                agrees = top == own
                depth = len(top) - np.cumprod(agrees[::-1], axis=0).sum(axis=0)
                found = _means(files[tested], units, depth[None]).within(0, len(top) - 1)
                counted = {"n": int(tested.sum()), "files": len(np.unique(files[tested]))}
                which = {"lens": lens, "control": "", "measure": "depth", "split": "context", "part": str(size)}
                if counted["n"]:
                    rows.add(found, 0, layer=None, **which, **counted)
    rows.write(connection)


def _add_lenses(
    rows: _Rows, sums: FloatArray, n: IntArray, units: Members, names: Sequence[tuple[str, str, str]], **which: str
) -> None:
    """Add rows of what lenses read, summed by file: `sums` [files, layers, names] and `n` [files]."""
    counted = {"n": int(n.sum()), "files": int((n > 0).sum())} | which
    if not counted["n"]:
        return
    layers = sums.shape[1]
    shares, means = share_interval(sums, n, units), ratio_interval(sums, n, units).within(0, np.inf)
    depths = ratio_interval(np.einsum("flm,l->fm", sums, np.arange(layers)), n, units).within(0, layers - 1)
    for number, (lens, control, measure) in enumerate(names):
        named = {"lens": lens, "control": control}
        if measure == "settled":
            rows.add(depths, number, measure="depth", layer=None, **named, **counted)
            continue
        value = _part(means if measure == "kl" else shares, number)
        for layer in range(layers):
            certain = measure == "agreement" and not control and layer == layers - 1
            rows.add(value.certain() if certain else value, layer, measure=measure, layer=layer, **named, **counted)


def write_contexts(
    connection: duckdb.DuckDBPyConnection,
    results: Sequence[Arrays],
    sizes: Sequence[int],
    token_counts: IntArray,
    units: Units,
) -> None:
    """Write the rows by size of context; `token_counts` are of the whole corpus, by token id."""
    rows = _Rows(AGREEMENT_CONTEXTS)
    if results:
        files, following, tops, final = (
            np.concatenate([arrays[name] for arrays in results], axis=-1)
            for name in ("files", "following", "tops", "final")
        )
        # a token the model predicts may never occur in the corpus: one more keeps its logarithm finite
        frequency = np.log((token_counts + 1) / token_counts.sum())
        for size, top, own in zip(sizes, tops, final, strict=True):
            known = _OWN_OUTPUT | (_SAME_CONTEXT if size == sizes[-1] else set())
            others = {"full": final[-1], "following": following}
            _add_context(rows, files, units, top, own, others, frequency, size, known)
    rows.write(connection)


def _add_context(
    rows: _Rows,
    files: IntArray,
    units: Units,
    top: IntArray,
    own: IntArray,
    others: dict[str, IntArray],
    frequency: FloatArray,
    size: int,
    known: set[str],
) -> None:
    """Add the rows of one size: `top` is [layers, n], `frequency` [vocabulary], the other arrays are [n].

    `known` are measures that are so by definition, in the last layer if they are of layers.
    """
    agrees = top == own
    depth = len(top) - np.cumprod(agrees[::-1], axis=0).sum(axis=0)
    measures = {
        "residual": agrees,
        "residual_full": top == others["full"],
        "same_as_full": own == others["full"],
        "correct": own == others["following"],
        "depth": depth,
        "log_frequency": frequency[own],
    }
    counted = {"size": size, "n": len(files), "files": len(np.unique(files))}
    for measure, values in measures.items():
        interval = _means if measure in _NO_SHARES else _shares
        found = interval(files, units, np.atleast_2d(values))
        by_layer = values.ndim == 2
        for layer in range(len(found.estimate)):
            certain = measure in known and layer == len(found.estimate) - 1
            row = found.certain() if certain else found
            rows.add(row, layer, measure=measure, layer=layer if by_layer else None, **counted)


def write_keys(connection: duckdb.DuckDBPyConnection, results: Sequence[Arrays], units: Units) -> None:
    """Write how often the token after a key's strongest trigger is the one its value promotes.

    The agreement rate of Geva et al. 2021, section 4, by layer, and by tenths of the value's largest probability:
    agreement is expected where a value is peaked.
    """
    rows = _Rows(AGREEMENT_KEYS)
    sizes = [len(arrays["files"]) for arrays in results]
    layer_of = np.repeat(np.arange(len(results)), sizes)
    files = np.concatenate([arrays["files"] for arrays in results])
    fires = files >= 0
    for projection in PROJECTIONS:
        probability = np.concatenate([arrays[f"{projection}_probability"] for arrays in results])
        groups: list[tuple[int | None, int | None, npt.NDArray[np.bool_]]] = [(None, None, fires)]
        groups += [(layer, None, fires & (layer_of == layer)) for layer in range(len(results))]
        groups += [(None, tenth, chosen) for tenth, chosen in _tenths(probability, fires)]
        for control, name in (("", "rank"), ("permuted_values", "rank_permuted")):
            ranks = np.concatenate([arrays[f"{projection}_{name}"] for arrays in results])
            for layer, tenth, chosen in groups:
                which = {"control": control, "projection": projection, "layer": layer, "tenth": tenth}
                _add_keys(rows, files[chosen], units, ranks[chosen], which)
    rows.write(connection)


def _add_keys(rows: _Rows, files: IntArray, units: Units, ranks: IntArray, which: Mapping[str, object]) -> None:
    if not len(files):
        return
    counted = {"n": len(files), "files": len(np.unique(files)), **which}
    rows.add(_shares(files, units, (ranks == 1)[None]), 0, measure="agreement", **counted)
    logs = _means(files, units, np.log(ranks)[None])
    rows.add(logs.exp().within(1, np.inf), 0, measure="rank", **counted)


def _tenths(numbers: FloatArray, chosen: npt.NDArray[np.bool_]) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """Which of the chosen are in each tenth of them, smallest numbers first."""
    order = np.flatnonzero(chosen)[np.argsort(numbers[chosen], kind="stable")]
    tenths = []
    for tenth, part in enumerate(np.array_split(order, TENTHS), start=1):
        member = np.zeros(len(numbers), dtype=bool)
        member[part] = True
        tenths.append((tenth, member))
    return tenths


def _means(files: IntArray, units: Units, values: npt.NDArray[Any]) -> Interval:
    """Means of values [cells, n] at tokens of some files [n], with their intervals, [cells]."""
    return ratio_interval(values.T, np.ones(len(files)), units.members(files))


def _shares(files: IntArray, units: Units, values: npt.NDArray[Any]) -> Interval:
    """Shares of the tokens of some files [n] at which values [cells, n] are true, with their intervals, [cells]."""
    return share_interval(values.T, np.ones(len(files)), units.members(files))


def _part(found: Interval, number: int) -> Interval:
    """One entry of the last axis."""
    return Interval(*(each[..., number] for each in found))
