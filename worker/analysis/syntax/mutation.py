"""How much a key depends on parts of its context: triggers run again with one token dropped (Geva et al. 2021, 3.2).

The context of a trigger is its window up to and including the trigger token. Attention is causal, so one forward pass
over a window serves every trigger in it. Without its last token a context ends one token earlier, and the whole window
already has that coefficient. Without its first token, or one in between, all contexts of the window lose the same
token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.triggers import Examples
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import mix
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
WHOLE = -1
"""In place of a dropped token: none is."""
_COEFFICIENT, _LAST, _FIRST, _RANDOM = range(4)


@dataclass(frozen=True)
class _Text:
    """A window up to its last trigger, whole or without one of its tokens."""

    dropped: int
    """Position of the dropped token, or WHOLE."""
    triggers: slice
    """The triggers in the window."""
    token_ids: npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Reads:
    """The coefficients to read from a batch, and for what; arrays are [reads], ordered by layer."""

    row: IntArray
    position: IntArray
    layer: IntArray
    key: IntArray
    trigger: IntArray
    purpose: IntArray


def relative_changes(subject: Subject, triggers: Examples, drops: int, advance: Advance) -> Arrays:
    """Relative change of each trigger's coefficient when a token is dropped; -1 if nothing is left of it.

    A negative coefficient counts as 0, because the key no longer fires there. Both coefficients are read here, the
    undropped one included: the stored one comes from another batch and may differ in its last bits.

    Args:
        subject: the run.
        triggers: sorted by their windows.
        drops: tokens dropped from the middle of each window, one at a time; the change is the mean over those before
            the trigger.
        advance: called with the tokens done; each counts once, however many forward passes go over it.

    Returns:
        `last`, `first` and `random` [triggers], NaN for contexts that are too short.
    """
    total, count = np.zeros((4, len(triggers))), np.zeros((4, len(triggers)))
    position = triggers.token - triggers.first
    texts = sorted(_texts(subject.store, triggers, drops), key=lambda text: -len(text.token_ids))
    for start in range(0, len(texts), subject.batch):
        batch = texts[start : start + subject.batch]
        reads = _reads(batch, triggers, position)
        found = _read(subject, batch, reads)
        np.add.at(total, (reads.purpose, reads.trigger), np.maximum(found, 0))
        np.add.at(count, (reads.purpose, reads.trigger), 1)
        advance(sum(len(text.token_ids) for text in batch) / (2 + drops))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        changes = mean[1:] / np.where(mean[_COEFFICIENT] > 0, mean[_COEFFICIENT], np.nan) - 1
    return dict(zip(("last", "first", "random"), changes.astype(np.float32), strict=True))


def _texts(store: TokenStore, triggers: Examples, drops: int) -> Iterator[_Text]:
    """Every window with triggers: whole, without its first token, and without one in between, several times."""
    starts = np.flatnonzero(np.diff(triggers.first, prepend=-1))
    for begin, end in zip(starts, np.append(starts[1:], len(triggers)), strict=True):
        first, last = int(triggers.first[begin]), int(triggers.token[begin:end].max())
        ids = np.asarray(store.token_ids[first : last + 1])
        within = slice(int(begin), int(end))
        yield _Text(WHOLE, within, ids)
        if len(ids) > 1:
            yield _Text(0, within, ids[1:])
        seed = store.seeds[triggers.file[begin]] + np.uint64(first - store.offsets[triggers.file[begin]])
        for dropped in _middles(len(ids), drops, seed):
            yield _Text(dropped, within, np.delete(ids, dropped))


def _middles(length: int, drops: int, seed: np.uint64) -> list[int]:
    """Positions strictly between first and last token, one at random from each of `drops` equal parts."""
    between = length - 2
    if between < 1:
        return []
    noise = mix(seed + np.arange(drops, dtype=np.uint64)).astype(np.float64) / 2.0**64
    places = 1 + ((np.arange(drops) + noise) * between / drops).astype(np.int64)
    return sorted(set(np.minimum(places, between).tolist()))


def _reads(batch: Sequence[_Text], triggers: Examples, position: IntArray) -> _Reads:
    parts = []
    for row, text in enumerate(batch):
        numbers = np.arange(text.triggers.start, text.triggers.stop)
        at = position[text.triggers]
        if text.dropped == WHOLE:
            parts.append((row, numbers, at, _COEFFICIENT))
            # the coefficient one position earlier is that of the context without its last token
            purpose, later = _LAST, at > 0
        else:
            purpose, later = (_FIRST if text.dropped == 0 else _RANDOM), at > text.dropped
        parts.append((row, numbers[later], at[later] - 1, purpose))
    trigger = np.concatenate([numbers for _, numbers, _, _ in parts])
    order = np.argsort(triggers.layer[trigger], kind="stable")
    sizes = [len(numbers) for _, numbers, _, _ in parts]
    return _Reads(
        row=np.repeat([row for row, _, _, _ in parts], sizes)[order],
        position=np.concatenate([at for _, _, at, _ in parts])[order],
        layer=triggers.layer[trigger][order],
        key=triggers.key[trigger][order],
        trigger=trigger[order],
        purpose=np.repeat([purpose for _, _, _, purpose in parts], sizes)[order],
    )


@torch.inference_mode()
def _read(subject: Subject, batch: Sequence[_Text], reads: _Reads) -> FloatArray:
    """Run a batch and read the coefficients, [reads]. Padding is on the right, where causal attention never looks."""
    model, prefix = subject.model, subject.model.facts.bos
    width = len(prefix) + max(len(text.token_ids) for text in batch)
    ids = np.zeros((len(batch), width), dtype=np.int64)
    ids[:, : len(prefix)] = prefix
    for row, text in enumerate(batch):
        ids[row, len(prefix) : len(prefix) + len(text.token_ids)] = text.token_ids
    flat = torch.from_numpy(reads.row * width + len(prefix) + reads.position).to(model.device)
    keys = torch.from_numpy(reads.key).to(model.device)
    bounds = np.searchsorted(reads.layer, np.arange(len(model.layers) + 1))
    found: list[Tensor] = []

    def keep(layer: int, coefficients: Tensor) -> None:
        of_layer = slice(int(bounds[layer]), int(bounds[layer + 1]))
        found.append(coefficients.flatten(0, 1)[flat[of_layer], keys[of_layer]].float())

    with read_coefficients(model, keep):
        model.run_body(torch.from_numpy(ids).to(model.device))
    return torch.cat(found).cpu().numpy().astype(np.float64)
