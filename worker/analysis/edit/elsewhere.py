"""What coefficients are in code without the concept: their means, and places to take them from instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keyscope.worker.analysis.edit.keys import FloatArray, IntArray
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import Places, forward, places, places_at
from keyscope.worker.precompute.windows import Batch, Window, counted, in_batches, mix
from keyscope.worker.progress import Advance

BANK = 512
"""Places of each language that coefficients are taken from."""


@dataclass(frozen=True)
class Elsewhere:
    """Coefficients in code without the concept."""

    means: FloatArray
    """[languages, keys of all layers]; a language without such code has the mean over the others."""
    keys: IntArray
    """The keys whose coefficients are in the bank, ascending."""
    bank: FloatArray
    """[places, keys in the bank], place by place, each language's together."""
    bounds: IntArray
    """[languages, 2], first place of each language and the one after its last; all places if it has none."""


@dataclass(frozen=True)
class Rows:
    """What a batch's rows hold, as far as it decides what takes the place of a coefficient."""

    languages: IntArray
    """[rows]"""
    numbers: IntArray
    """[rows, columns], the number in the corpus of the token in each column; of padding, that of what comes next."""

    @classmethod
    def of(cls, subject: Subject, batch: Batch) -> "Rows":
        """The rows of a batch."""
        store, prefix = subject.store, len(subject.model.facts.bos)
        files = np.array([window.file for window in batch.windows])
        starts = store.offsets[files] + np.array([window.start for window in batch.windows])
        columns = np.arange(batch.token_ids.shape[1]) - prefix
        return cls(store.languages[files].astype(np.int64), starts[:, None] + columns)

    def sources(self, bounds: IntArray, seed: int) -> IntArray:
        """The place in the bank that each token's coefficients are taken from, [rows, columns].

        All keys of a token come from one place, as they are together there. The draw depends on the token and the seed
        alone, so it is the same in whatever batch the token is.
        """
        first, last = bounds[self.languages].T[:, :, None].astype(np.uint64)
        lots = mix(self.numbers.astype(np.uint64) + mix(np.array([seed], dtype=np.uint64)))
        found: IntArray = (first + lots % (last - first)).astype(np.int64)
        return found


def means_on(subject: Subject, windows: Sequence[Window], advance: Advance) -> FloatArray:
    """The mean of every key's coefficient over the tokens of some windows that count, [languages, keys]."""
    first, languages = subject.model.first_keys, len(subject.store.language_names)
    sums, totals = np.zeros((languages, int(first[-1]))), np.zeros(languages)
    for batch, at in _walk(subject, windows):
        is_of = np.arange(languages)[:, None] == subject.store.languages[at.files]
        marked = torch.from_numpy(is_of.astype(np.float32)).to(subject.model.device)

        def add(layer: int, found: Tensor, marked: Tensor = marked) -> None:
            sums[:, first[layer] : first[layer + 1]] += (marked @ found).double().cpu().numpy()

        forward(subject.model, batch, at, add)
        totals += is_of.sum(axis=1)
        advance(batch.n_tokens)
    pooled = sums.sum(axis=0) / totals.sum()
    return np.where(totals[:, None] > 0, sums / np.maximum(totals, 1)[:, None], pooled)


def bank_on(
    subject: Subject, windows: Sequence[Window], keys: IntArray, seed: int, advance: Advance
) -> tuple[FloatArray, IntArray]:
    """Coefficients of some keys at random places of some windows, by language; the last two fields of `Elsewhere`.

    Args:
        subject: the run.
        windows: code without the concept.
        keys: ascending, counted through all layers.
        seed: seed of the places.
        advance: called with the tokens done.
    """
    store, first = subject.store, subject.model.first_keys
    layers = np.searchsorted(first, keys, side="right") - 1
    numbers = np.concatenate(
        [store.offsets[each.file] + each.start + np.flatnonzero(counted(store, each)) for each in windows]
    )
    of = store.languages[np.searchsorted(store.offsets, numbers, side="right") - 1]
    lots = mix(numbers.astype(np.uint64) + np.uint64(seed))
    drawn = [
        here[np.argsort(lots[here], kind="stable")][:BANK]
        for here in (np.flatnonzero(of == code) for code in range(len(store.language_names)))
    ]
    chosen, ends = numbers[np.concatenate(drawn)], np.cumsum([len(here) for here in drawn])
    bank = np.zeros((len(chosen), len(keys)))
    order = np.argsort(chosen)
    for batch, at in _walk(subject, windows, chosen):
        rows = order[np.searchsorted(chosen[order], at.numbers)]

        def take(layer: int, found: Tensor, rows: IntArray = rows) -> None:
            here = np.flatnonzero(layers == layer)
            if len(here):
                columns = torch.from_numpy(keys[here] - first[layer]).to(found.device)
                bank[np.ix_(rows, here)] = found[:, columns].cpu().numpy()

        forward(subject.model, batch, at, take)
        advance(batch.n_tokens)
    begins = np.concatenate([[0], ends[:-1]])
    bounds = np.stack([begins, ends], axis=1)
    bounds[begins == ends] = 0, len(chosen)
    return bank, bounds


def _walk(
    subject: Subject, windows: Sequence[Window], numbers: IntArray | None = None
) -> Iterator[tuple[Batch, Places]]:
    """Batches of windows with their tokens that count, or with those of them that are asked for."""
    store, model = subject.store, subject.model
    longest_first = sorted(windows, key=lambda window: -window.length)
    for batch in in_batches(store, longest_first, subject.batch, model.facts.bos, model.device):
        if numbers is None:
            yield batch, places(subject, batch)
            continue
        begins = [int(store.offsets[window.file]) + window.start for window in batch.windows]
        inside = [
            np.flatnonzero(counted(store, window) & np.isin(np.arange(begin, begin + window.length), numbers))
            for begin, window in zip(begins, batch.windows, strict=True)
        ]
        yield batch, places_at(subject, batch, inside)
