"""Where an edit is measured: windows with the concept and without it, and the cells each token counts for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.worker.analysis.edit.errors import NothingToMeasure
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, Window, mix, predicted, window_noise, windows_of
from keyscope.worker.progress import Advance

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
MOST_OF_A_FILE = 8
"""Most windows of one file, so no file weighs much more than the others."""
CONCEPT, NEAR, GENERAL = 0, 1, 2
"""Cells: places of the concept, other places in the same windows, and places of windows without it in its languages."""


@dataclass(frozen=True)
class Chosen:
    """Windows to measure on, each kind in random order."""

    with_concept: tuple[Window, ...]
    without: tuple[Window, ...]


def choose(subject: Subject, concept: Concept, held_out: bool, tokens: int, seed: int) -> Chosen:
    """Choose windows of files that are held out, or are not: half of the tokens with the concept, half without.

    The half without is shared evenly among the run's languages. Files without any match come before windows that merely
    have none, because the rest of a file with the concept is often related to it.

    Raises:
        NothingToMeasure: one of the halves is empty.
    """
    store, cut = subject.store, Cut.of(subject.manifest.settings)
    kept = units_of(store).test if held_out else units_of(store).pick
    found: list[Window] = []
    without: list[Window] = []
    with subject.progress.stage("looking for the concept", int(kept.sum()), "files") as advance:
        for code in range(len(store.language_names)):
            files = _by_lot(store, np.flatnonzero(kept & (store.languages == code)), seed)
            clean: list[list[Window]] = []
            others: list[list[Window]] = []
            for file in files:
                (mask,) = subject.matching.token_masks([concept], store, file, advance)
                having, lacking = _apart(store, file, cut, mask, seed)
                found += having
                (others if mask.any() else clean).append(lacking)
                advance(1)
            without += _first([*_in_turn(clean), *_in_turn(others)], tokens // (2 * len(store.language_names)))
    chosen = Chosen(tuple(_first(_shuffled(store, found, seed), tokens // 2)), tuple(without))
    where = "held-out files" if held_out else "files to pick keys on"
    if not chosen.with_concept:
        raise NothingToMeasure(
            f"the {where} of {subject.path.stem} have no match of {concept.name}: choose another concept"
        )
    if held_out and not chosen.without:
        raise NothingToMeasure(
            f"every window of the {where} of {subject.path.stem} matches {concept.name}: choose a narrower concept"
        )
    return chosen


def _by_lot(store: TokenStore, files: IntArray, seed: int) -> list[int]:
    noise = mix(store.seeds[files] + np.uint64(seed))
    return [int(file) for file in files[np.argsort(noise, kind="stable")]]


def _shuffled(store: TokenStore, windows: Sequence[Window], seed: int) -> list[Window]:
    if not windows:
        return []
    order = np.argsort(window_noise(store, tuple(windows), seed), kind="stable")
    return [windows[number] for number in order]


def _apart(store: TokenStore, file: int, cut: Cut, mask: BoolArray, seed: int) -> tuple[list[Window], list[Window]]:
    """Some windows of a file with a place of the concept, and some without a token of it.

    A window whose only tokens of the concept are not predicted or do not count is in neither: they are seen all the same.
    """
    having, lacking = [], []
    for window in windows_of(file, len(mask), cut):
        inside, measured = mask[window.start : window.start + window.length], predicted(store, window)
        if (inside & measured).any():
            having.append(window)
        elif not inside.any() and measured.any():
            lacking.append(window)
    return (
        _shuffled(store, having, seed)[:MOST_OF_A_FILE],
        _shuffled(store, lacking, seed)[:MOST_OF_A_FILE],
    )


def _in_turn(files: Sequence[Sequence[Window]]) -> Iterator[Window]:
    """The first window of every file, then every second one, and so on: as many files as the budget allows."""
    for windows in zip_longest(*files):
        yield from (window for window in windows if window is not None)


def _first(windows: Sequence[Window], tokens: int) -> list[Window]:
    """The first windows that together have at least this many tokens."""
    total, kept = 0, []
    for window in windows:
        if total >= tokens:
            break
        kept.append(window)
        total += window.length
    return kept


@dataclass(frozen=True)
class Cells:
    """The groups of places that are counted apart, and the concepts that define them."""

    concept: Concept
    others: tuple[Concept, ...]
    """Other concepts, to see collateral damage."""
    languages: tuple[str, ...]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Group and name of each cell, as in the tables."""
        general = [("general", language) for language in self.languages]
        return [
            ("concept", ""),
            ("near", ""),
            ("general", ""),
            *general,
            *(("collateral", each.part) for each in self.others),
        ]

    def of_window(self, subject: Subject, window: Window, advance: Advance) -> Iterator[tuple[int, IntArray]]:
        """The cells with places in a window, and these places as positions in the window: predicted tokens that count."""
        store = subject.store
        code = int(store.languages[window.file])
        language = store.language_names[code]
        inside = slice(window.start, window.start + window.length)
        concepts = (self.concept, *self.others)
        masks = subject.matching.token_masks(concepts, store, window.file, advance)
        measured = predicted(store, window)
        mine, *others = (mask[inside] for mask in masks)
        elsewhere = np.flatnonzero(measured & ~mine)
        if (mine & measured).any():
            yield CONCEPT, np.flatnonzero(mine & measured)
            yield NEAR, elsewhere
        else:
            if language in self.concept.patterns:
                yield GENERAL, elsewhere
            yield GENERAL + 1 + code, elsewhere
        for number, other in enumerate(others):
            its = other & ~mine & measured
            if its.any():
                yield GENERAL + 1 + len(self.languages) + number, np.flatnonzero(its)
