"""One step's windows under every condition: how well each token is predicted, summed by cell and file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.analyses.edit import MEASURES
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.edit.conditions import Condition, prepare
from keyscope.worker.analysis.edit.elsewhere import Elsewhere, Rows
from keyscope.worker.analysis.edit.keys import IntArray
from keyscope.worker.analysis.edit.places import CONCEPT, Cells
from keyscope.worker.analysis.edit.scores import Before, FloatArray, score
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import forward, places_at
from keyscope.worker.model.taps import Change, change_coefficients, read_coefficients
from keyscope.worker.precompute.windows import Batch, Window, in_batches
from keyscope.worker.progress import Advance


@dataclass(frozen=True)
class Targets:
    """The predicted tokens of a batch, each once, and the cells each counts for; arrays are [places] or [entries].

    A place can count for several cells (a language and all languages, say), so it has several entries.
    """

    flat: IntArray
    """Where each is predicted from, in the flattened batch [rows * columns]."""
    numbers: IntArray
    """Number of each token in the corpus."""
    first: IntArray
    """Number of the first token of its window."""
    cells: IntArray
    """[entries], the cell of each …"""
    files: IntArray
    """… its file, as an index into the step's list …"""
    entries: IntArray
    """… and the index of its place."""

    def sums(self, values: FloatArray, cells: int, files: int) -> FloatArray:
        """Sum values of places [places] over the entries, [cells, files]."""
        weights = values[self.entries]
        summed = np.bincount(self.cells * files + self.files, weights, cells * files).astype(np.float64)
        return summed.reshape(cells, files)


def targets_of(subject: Subject, cells: Cells, batch: Batch, files: Sequence[int], advance: Advance) -> Targets:
    """The targets of a batch."""
    store, prefix = subject.store, len(subject.model.facts.bos)
    flat, numbers, first, of_cells, of_files, entries = ([] for _ in range(6))
    count = 0
    for row, window in enumerate(batch.windows):
        predicted = np.arange(1, window.length)
        begin = int(store.offsets[window.file]) + window.start
        flat.append(row * batch.token_ids.shape[1] + prefix + predicted - 1)
        numbers.append(begin + predicted)
        first.append(np.full(len(predicted), begin))
        for cell, positions in cells.of_window(subject, window, advance):
            of_cells.append(np.full(len(positions), cell))
            of_files.append(np.full(len(positions), files.index(window.file)))
            entries.append(count + positions - 1)
        count += len(predicted)
    return Targets(*map(np.concatenate, (flat, numbers, first, of_cells, of_files, entries)))


def measure(
    subject: Subject,
    cells: Cells,
    windows: Sequence[Window],
    conditions: Sequence[Condition],
    elsewhere: Elsewhere,
    advance: Advance,
) -> Arrays:
    """Measure all conditions over the same windows.

    Every batch runs under all conditions before the next one: differences between conditions are then paired by token,
    which takes the spread between tokens out of them.

    Returns:
        `files` [files]; `counts` [cells, files] and `sums` [conditions, cells, files, measures]; for every place of the
        concept, `sites` [n, 2], the numbers of the token and of its window's first one, `coefficients` [n], that of the
        main dose's first key where the token is predicted, and `site_scores` [ways, n, measures], unmasked and in each of
        SITE_WAYS.
    """
    files = sorted({window.file for window in windows})
    shape = len(cells.names), len(files)
    counts = np.zeros(shape)
    sums = np.zeros((len(conditions), *shape, len(MEASURES)))
    sites: list[dict[str, npt.NDArray[Any]]] = []
    prepared = [prepare(condition, subject.model, elsewhere) for condition in conditions]
    ways = [way_of(condition) for condition in conditions]
    first_key = next((int(condition.keys[0]) for condition in conditions if condition.main), None)
    longest_first = sorted(windows, key=lambda window: -window.length)
    for batch in in_batches(subject.store, longest_first, subject.batch, subject.model.facts.bos, subject.model.device):
        targets, rows = targets_of(subject, cells, batch, files, advance), Rows.of(subject, batch)
        counts += targets.sums(np.ones(len(targets.numbers)), *shape)
        mine = np.unique(targets.entries[targets.cells == CONCEPT])
        of_sites = np.zeros((len(SITE_WAYS), len(MEASURES), len(mine)))
        before = Before()
        for number, (changes, way) in enumerate(zip(prepared, ways, strict=True)):
            found = _scores(subject, batch, targets, changes(rows), before)
            for which, values in enumerate(found):
                sums[number, :, :, which] += targets.sums(values, *shape)
            if way is not None:
                of_sites[way] += found[:, mine] / ways.count(way)
            advance(batch.n_tokens / len(conditions))
        if len(mine) and first_key is not None:
            coefficients = _coefficients(subject, batch, targets.flat[mine], first_key)
            where = np.stack([targets.numbers[mine], targets.first[mine]], axis=1)
            sites.append({"sites": where, "coefficients": coefficients, "site_scores": of_sites.transpose(0, 2, 1)})
    return {"files": np.array(files), "counts": counts, "sums": sums, **_joined(sites)}


SITE_WAYS = ("baseline", "mean", "zero", "resample")
"""What is kept of every place of the concept: no mask, and the main dose in three ways; draws are averaged."""


def way_of(condition: Condition) -> int | None:
    """The index in SITE_WAYS that a condition counts for, if it does for any."""
    way = "mean" if condition.role == "dose" and condition.main else condition.role
    return SITE_WAYS.index(way) if way in SITE_WAYS else None


def _joined(sites: Sequence[Arrays]) -> Arrays:
    """The sites of all batches one after another."""
    empty = {
        "sites": np.zeros((0, 2), dtype=np.int64),
        "coefficients": np.zeros(0),
        "site_scores": np.zeros((len(SITE_WAYS), 0, len(MEASURES))),
    }
    along = {"site_scores": 1}
    return {
        name: np.concatenate([none, *(each[name] for each in sites)], axis=along.get(name, 0))
        for name, none in empty.items()
    }


@torch.inference_mode()
def _scores(
    subject: Subject, batch: Batch, targets: Targets, changes: Mapping[int, Change], before: Before
) -> FloatArray:
    """Score every place of a batch with coefficients changed, [measures, places]."""
    model = subject.model
    with change_coefficients(model, changes):
        residual = batch.run(model)
    true = torch.from_numpy(subject.store.token_ids[targets.numbers].astype(np.int64)).to(model.device)
    return score(model, residual.flatten(0, 1)[torch.from_numpy(targets.flat).to(model.device)], true, before)


@torch.inference_mode()
def _coefficients(subject: Subject, batch: Batch, flat: IntArray, key: int) -> FloatArray:
    """The unmasked coefficient of one key at some places of a batch, [places]."""
    model = subject.model
    layer = int(np.searchsorted(model.first_keys, key, side="right")) - 1
    index, at = key - int(model.first_keys[layer]), torch.from_numpy(flat).to(model.device)
    found: list[Tensor] = []

    def take(read: int, coefficients: Tensor) -> None:
        if read == layer:
            found.append(coefficients[..., index].flatten()[at].double().cpu())

    with read_coefficients(model, take):
        model.run_body(batch.token_ids)
    values: FloatArray = found[0].numpy()
    return values


def coefficients_on(
    subject: Subject, cells: Cells, windows: Sequence[Window], keys: IntArray, advance: Advance
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of keys' coefficients where a token of the concept comes next, [keys] each.

    By sums and sums of squares in float64: with coefficients of float32 the difference of the two keeps enough digits.
    """
    first = subject.model.first_keys
    layers = np.searchsorted(first, keys, side="right") - 1
    sums = np.zeros((2, len(keys)))
    total = 0
    longest_first = sorted(windows, key=lambda window: -window.length)
    for batch in in_batches(subject.store, longest_first, subject.batch, subject.model.facts.bos, subject.model.device):
        found = [_before_concept(subject, cells, window, advance) for window in batch.windows]
        at = places_at(subject, batch, found)

        def add(layer: int, found: Tensor) -> None:
            here = np.flatnonzero(layers == layer)
            if len(here):
                columns = torch.from_numpy(keys[here] - first[layer]).to(found.device)
                values = found[:, columns].double()
                sums[:, here] += torch.stack([values.sum(dim=0), values.square().sum(dim=0)]).cpu().numpy()

        forward(subject.model, batch, at, add)
        total += len(at)
        advance(batch.n_tokens)
    mean = sums[0] / total
    return mean, np.sqrt(np.maximum(sums[1] / total - mean**2, 0.0))


def _before_concept(subject: Subject, cells: Cells, window: Window, advance: Advance) -> IntArray:
    """The positions in a window that a token of the concept follows."""
    found = (positions - 1 for cell, positions in cells.of_window(subject, window, advance) if cell == CONCEPT)
    return next(found, np.zeros(0, dtype=np.int64))
