"""One step's windows under every condition: how well each token is predicted, summed by cell and file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keyscope.contract.analyses.edit import MEASURES
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.edit.conditions import Condition
from keyscope.worker.analysis.edit.keys import IntArray
from keyscope.worker.analysis.edit.places import CONCEPT, Cells
from keyscope.worker.analysis.edit.scores import ACCURACY, LOSS, FloatArray, score
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import forward, places_at
from keyscope.worker.model.taps import Change, change_coefficients
from keyscope.worker.precompute.windows import Batch, Window, in_batches
from keyscope.worker.progress import Advance

PROMPTS = 4
"""Most places per batch kept as examples."""


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
    subject: Subject, cells: Cells, windows: Sequence[Window], conditions: Sequence[Condition], advance: Advance
) -> Arrays:
    """Measure all conditions over the same windows.

    Every batch runs under all conditions before the next one: differences between conditions are then paired by token,
    which takes the spread between tokens out of them.

    Returns:
        `files` [files]; `counts` [cells, files] and `sums` [conditions, cells, files, measures]; for the places of the
        concept that the main dose harms most, `prompts` [n, 3], the numbers of the token and of its window's first one
        and whether it was predicted right before and is not any more, and `prompt_losses` [n, 2], before and after.
    """
    files = sorted({window.file for window in windows})
    shape = len(cells.names), len(files)
    counts = np.zeros(shape)
    sums = np.zeros((len(conditions), *shape, len(MEASURES)))
    prompts, losses = [np.zeros((0, 3), dtype=np.int64)], [np.zeros((0, 2))]
    changes = [condition.changes(subject.model) for condition in conditions]
    main = next(number for number, condition in enumerate(conditions) if condition.main)
    longest_first = sorted(windows, key=lambda window: -window.length)
    for batch in in_batches(subject.store, longest_first, subject.batch, subject.model.facts.bos, subject.model.device):
        targets = targets_of(subject, cells, batch, files, advance)
        counts += targets.sums(np.ones(len(targets.numbers)), *shape)
        kept: dict[int, FloatArray] = {}
        for number, change in enumerate(changes):
            found = _scores(subject, batch, targets, change)
            for which, values in enumerate(found):
                sums[number, :, :, which] += targets.sums(values, *shape)
            if number in (0, main):
                kept[number] = found
            advance(batch.n_tokens / len(conditions))
        chosen = _harmed(targets, kept[0], kept[main])
        fell = (kept[0][ACCURACY, chosen] > kept[main][ACCURACY, chosen]).astype(np.int64)
        prompts.append(np.stack([targets.numbers[chosen], targets.first[chosen], fell], axis=1))
        losses.append(np.stack([kept[0][LOSS, chosen], kept[main][LOSS, chosen]], axis=1))
    return {
        "files": np.array(files),
        "counts": counts,
        "sums": sums,
        "prompts": np.concatenate(prompts),
        "prompt_losses": np.concatenate(losses),
    }


@torch.inference_mode()
def _scores(subject: Subject, batch: Batch, targets: Targets, changes: Mapping[int, Change]) -> FloatArray:
    """Score every place of a batch with coefficients changed, [measures, places]."""
    model = subject.model
    with change_coefficients(model, changes):
        residual = model.run_body(batch.token_ids)
    true = torch.from_numpy(subject.store.token_ids[targets.numbers].astype(np.int64)).to(model.device)
    return score(model, residual.flatten(0, 1)[torch.from_numpy(targets.flat).to(model.device)], true)


def _harmed(targets: Targets, before: FloatArray, after: FloatArray) -> IntArray:
    """Places of the concept that lose most; those that were right and no longer are come first."""
    mine = targets.entries[targets.cells == CONCEPT]
    lost = before[ACCURACY, mine] - after[ACCURACY, mine]
    order = np.lexsort((before[LOSS, mine] - after[LOSS, mine], -lost))
    chosen: IntArray = mine[order][:PROMPTS]
    return chosen


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
