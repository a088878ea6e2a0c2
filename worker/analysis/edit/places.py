"""Where an edit is measured: windows with the concept and without it, and the cells each token counts for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept
from keyscope.worker.analysis.edit.errors import NothingToMeasure
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import PICK, TEST, TUNE
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, Window, mix, predicted, window_noise, windows_of
from keyscope.worker.progress import Advance

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
MOST_OF_A_FILE = 8
"""Most windows of one file, so no file weighs much more than the others."""
_TITLES = {PICK: "files to pick keys on", TUNE: "files to choose doses on", TEST: "held-out files"}
CONCEPT, NEAR, GENERAL = 0, 1, 2
"""Cells: places of the concept, other places in the same windows up to the last of these, and places of windows without it in its languages."""


@dataclass(frozen=True)
class Chosen:
    """Windows to measure on, each kind in random order."""

    with_concept: tuple[Window, ...]
    without: tuple[Window, ...]


@dataclass(frozen=True)
class Budget:
    """The files to choose windows from, and how many tokens these should have."""

    part: int
    """PICK, TUNE or TEST."""
    with_concept: int
    without: int
    languages: tuple[str, ...]
    """Languages that the tokens without the concept are shared among."""


def choose(subject: Subject, concept: Concept, budget: Budget, seed: int) -> Chosen:
    """Choose windows of one part's files, with the concept and without it.

    Projects take turns, and in each project its files: every file gives its first window before any gives its second,
    so a budget buys as many independent units as there are. Windows without the concept are shared evenly among the
    budget's languages, and files without any match come before windows that merely have none, because the rest of a file
    with the concept is often related to it.

    Raises:
        NothingToMeasure: there is no window with the concept (doses can be chosen without any), or none without it.
    """
    store, cut, units = subject.store, Cut.of(subject.manifest.settings), subject.units
    kept = units.parts[units.of_file] == budget.part
    found: list[list[Window]] = []
    without: list[Window] = []
    with subject.progress.stage("looking for the concept", int(kept.sum()), "files") as advance:
        for code, language in enumerate(store.language_names):
            files = _by_lot(store, np.flatnonzero(kept & (store.languages == code)), seed)
            clean: list[list[Window]] = []
            others: list[list[Window]] = []
            for file in files:
                (mask,) = subject.matching.token_masks([concept], store, file, advance)
                having, lacking = _apart(store, file, cut, mask, seed)
                found.append(having)
                (others if mask.any() else clean).append(lacking)
                advance(1)
            if language in budget.languages:
                turns = [*_in_turn(units.of_file, clean), *_in_turn(units.of_file, others)]
                without += _first(turns, budget.without // len(budget.languages))
    by_lot = sorted(filter(None, found), key=lambda windows: int(mix(store.seeds[windows[0].file] + np.uint64(seed))))
    chosen = Chosen(tuple(_first(list(_in_turn(units.of_file, by_lot)), budget.with_concept)), tuple(without))
    where = _TITLES[budget.part]
    if not chosen.with_concept and budget.part != TUNE:
        raise NothingToMeasure(
            f"the {where} of {subject.path.stem} have no match of {concept.name}: choose another concept"
        )
    if not chosen.without:
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

    Windows with the concept end with its last place: no token after it changes a prediction of it. A window whose only tokens of the concept are not predicted or do not count is in neither: they are seen all the same.
    """
    having, lacking = [], []
    for window in windows_of(file, len(mask), cut):
        inside, measured = mask[window.start : window.start + window.length], predicted(store, window)
        if (inside & measured).any():
            having.append(replace(window, length=int(np.flatnonzero(inside & measured)[-1]) + 1))
        elif not inside.any() and measured.any():
            lacking.append(window)
    return (
        _shuffled(store, having, seed)[:MOST_OF_A_FILE],
        _shuffled(store, lacking, seed)[:MOST_OF_A_FILE],
    )


def _in_turn(units: IntArray, files: Sequence[Sequence[Window]]) -> Iterator[Window]:
    """The first window of every file, then every second one, and so on; within a round, units take turns."""
    of_unit: dict[int, list[Sequence[Window]]] = {}
    for windows in filter(None, files):
        of_unit.setdefault(int(units[windows[0].file]), []).append(windows)
    turns = [windows for round_ in zip_longest(*of_unit.values()) for windows in round_ if windows is not None]
    for each in zip_longest(*turns):
        yield from (window for window in each if window is not None)


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
