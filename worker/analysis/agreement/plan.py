"""Which tokens are read: whole windows and targets of contexts, drawn by content alone and spread over the files."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from keyscope.worker.analysis.analysis import Seed, Settings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Window, window_noise, windows_of

READING_OPERATIONS = 30e12
"""Arithmetic spent on reading tokens where nobody says how many; some minutes on two cores."""
CONTEXT_OPERATIONS = 20e12
"""The same for contexts."""
FEWEST_TOKENS, FEWEST_TARGETS, MOST_TARGETS = 4000, 100, 1000
"""Bounds of what is read where nobody says how much."""
PROJECTIONS = 4
"""Times a layer is projected into the vocabulary for every token."""
STEP_WINDOWS, STEP_TARGETS = 16, 64
"""Windows and targets of one step."""


class AgreementSettings(Settings):
    """How much is read."""

    tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens to read, drawn as whole windows; 0 for all, by default as many as some minutes allow",
    )
    targets: int | None = Field(
        None, ge=0, description="Tokens predicted with contexts of every size; by default as many as some minutes allow"
    )
    longest_context: int = Field(512, ge=2, description="Longest context; the window and the model may allow less")
    seed: Seed = 0


@dataclass(frozen=True)
class Targets:
    """Tokens after which is predicted: their files and their places in them, each [n]."""

    files: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, chosen: slice) -> "Targets":
        """Some of them."""
        return Targets(self.files[chosen], self.places[chosen])


def chosen_windows(subject: Subject, settings: AgreementSettings) -> list[Window]:
    """The windows to read, in the order of the corpus."""
    store, size = subject.store, subject.manifest.settings.window
    windows = [window for file in range(store.n_files) for window in windows_of(file, int(store.lengths[file]), size)]
    lengths = np.array([window.length for window in windows])
    noise = window_noise(store, tuple(windows), settings.seed)
    order = _spread(np.array([window.file for window in windows]), noise)
    before = np.cumsum(lengths[order]) - lengths[order]
    return sorted(windows[number] for number in order[before < _wanted_tokens(subject, settings)])


def context_sizes(subject: Subject, longest: int) -> list[int]:
    """Powers of two up to what window and model allow."""
    facts = subject.model.facts
    most = min(longest, subject.manifest.settings.window, subject.model.context_length - len(facts.bos))
    return [1 << power for power in range(1, most.bit_length())]


def chosen_targets(subject: Subject, settings: AgreementSettings) -> Targets:
    """Tokens with the longest context before them and a token behind them, as many of each file as of the others."""
    store, sizes = subject.store, context_sizes(subject, settings.longest_context)
    files = np.flatnonzero(store.lengths > sizes[-1])
    wanted = _wanted_targets(subject, settings, sizes)
    if not len(files) or not wanted:
        return Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
    each = -(-wanted // len(files))
    drawn = [_places(store, int(file), sizes[-1], each, settings.seed) for file in files]
    numbers, places = np.repeat(files, [len(found) for found in drawn]), np.concatenate(drawn)
    # the places of a file come in random order, so their ranks serve as noise
    noise = np.concatenate([np.arange(len(found)) for found in drawn]).astype(np.uint64)
    kept = np.sort(_spread(numbers, noise)[:wanted])
    return Targets(numbers[kept], places[kept])


def window_steps(store: TokenStore, windows: list[Window]) -> list[list[Window]]:
    """The windows cut into steps, each in one language and with all chosen windows of its files."""
    by_file: dict[int, list[Window]] = defaultdict(list)
    for window in windows:
        by_file[window.file].append(window)
    steps: list[list[Window]] = []
    for file, found in by_file.items():
        if steps and len(steps[-1]) < STEP_WINDOWS and store.languages[steps[-1][0].file] == store.languages[file]:
            steps[-1] += found
        else:
            steps.append(list(found))
    return steps


def _spread(files: npt.NDArray[np.int64], noise: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """An order that takes one of every file, then a second one, and so on; at random by the noise."""
    by_file = np.lexsort((noise, files))
    sorted_files = files[by_file]
    first = np.searchsorted(sorted_files, sorted_files)
    round_of = np.empty(len(files), dtype=np.int64)
    round_of[by_file] = np.arange(len(files)) - first
    return np.lexsort((files, noise, round_of))


def _places(store: TokenStore, file: int, longest: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng([seed, int(store.seeds[file])])
    possible = np.arange(longest - 1, int(store.lengths[file]) - 1)
    return random.permutation(possible)[:most]


def _wanted_tokens(subject: Subject, settings: AgreementSettings) -> int:
    everything = len(subject.store.token_ids)
    if settings.tokens is None:
        affordable = int(READING_OPERATIONS / (_lens_operations(subject.model) * PROJECTIONS))
        return min(everything, max(FEWEST_TOKENS, affordable))
    return settings.tokens or everything


def _wanted_targets(subject: Subject, settings: AgreementSettings, sizes: list[int]) -> int:
    if settings.targets is not None:
        return settings.targets
    body = 2 * sum(each.numel() for each in subject.model.model.base_model.parameters())
    affordable = CONTEXT_OPERATIONS / (sum(sizes) * body + len(sizes) * _lens_operations(subject.model))
    return min(MOST_TARGETS, max(FEWEST_TARGETS, int(affordable)))


def _lens_operations(model: CodeModel) -> float:
    """Arithmetic of one projection of every layer for one token."""
    return 2.0 * model.facts.n_layers * model.unembedding.numel()
