"""The tokens to read: whole windows, and targets of contexts, drawn by content alone and spread over the files."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from keyscope.worker.analysis.agreement.ridge import TUNING_TOKENS
from keyscope.worker.analysis.analysis import Seed, Settings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut, Window, counted, window_noise, windows_of

READING_OPERATIONS = FITTING_OPERATIONS = 6e12
"""Floating-point operations spent by default on reading windows and on fitting a lens: about a minute on two cores."""
CONTEXT_OPERATIONS = 20e12
"""The same for contexts."""
MOST_PER_DIMENSION = 200
"""Most tokens by default for each entry of the residual: more make the lens hardly better."""
FEWEST_TOKENS, FEWEST_TARGETS, MOST_TARGETS = 4000, 100, 1000
"""Bounds on the defaults."""
PROJECTIONS = 4
"""Projections into the vocabulary per layer and token, which dominate the cost."""
STEP_WINDOWS, STEP_TARGETS = 16, 64
"""Windows and targets per step."""


class AgreementSettings(Settings):
    """How many tokens are read."""

    tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens to read, drawn as whole windows; 0 reads all, the default is what takes about a minute",
    )
    lens_tokens: int | None = Field(
        None,
        ge=0,
        description="Tokens to fit the ridge lens on; 0 takes all that may be, the default is what takes a minute at most",
    )
    targets: int | None = Field(
        None, ge=0, description="Tokens predicted with every context size; the default is what takes a minute or so"
    )
    longest_context: int = Field(
        512, ge=2, description="Longest context in tokens, limited by the window and the model"
    )
    seed: Seed = 0


@dataclass(frozen=True)
class Targets:
    """Tokens whose successor is predicted: their files, and their places in these, each [n]."""

    files: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, chosen: slice) -> "Targets":
        return Targets(self.files[chosen], self.places[chosen])


def chosen_windows(subject: Subject, settings: AgreementSettings) -> list[Window]:
    """Choose the windows to read; returned in the order of the corpus."""
    files = range(subject.store.n_files)
    return _drawn_windows(subject, files, _wanted_tokens(subject, settings), settings.seed)


def fitting_windows(subject: Subject, settings: AgreementSettings) -> list[Window]:
    """Choose the windows that the ridge lens is fitted on, from the files that keys are picked on."""
    files = np.flatnonzero(subject.units.pick)
    wanted = settings.lens_tokens
    if wanted is None:
        width = subject.model.unembedding.shape[1]
        wanted = min(int(FITTING_OPERATIONS / _body_operations(subject.model)), MOST_PER_DIMENSION * width)
    return _drawn_windows(subject, files, wanted or int(subject.store.counted[files].sum()), settings.seed)


def tuning_windows(subject: Subject, settings: AgreementSettings) -> list[Window]:
    """Choose the windows that its penalty is chosen on, from the files that doses are."""
    files = np.flatnonzero(subject.units.tune)
    return _drawn_windows(subject, files, TUNING_TOKENS, settings.seed)


def _drawn_windows(subject: Subject, files: Iterable[int], wanted: int, seed: int) -> list[Window]:
    """Windows of some files with about so many tokens that count, spread over the files, in the order of the corpus."""
    store, cut = subject.store, Cut.of(subject.manifest.settings)
    everything = [window for file in files for window in windows_of(int(file), int(store.lengths[file]), cut)]
    tokens = np.array([counted(store, window).sum() for window in everything])
    windows, lengths = [everything[number] for number in np.flatnonzero(tokens)], tokens[tokens > 0]
    if not windows:
        return []
    noise = window_noise(store, tuple(windows), seed)
    order = _spread(np.array([window.file for window in windows]), noise)
    before = np.cumsum(lengths[order]) - lengths[order]
    return sorted(windows[number] for number in order[before < wanted])


def context_sizes(subject: Subject, longest: int) -> list[int]:
    """Powers of two, up to what the window and the model allow."""
    facts = subject.model.facts
    most = min(longest, subject.manifest.settings.window, subject.model.context_length - len(facts.bos))
    return [1 << power for power in range(1, most.bit_length())]


def chosen_targets(subject: Subject, settings: AgreementSettings) -> Targets:
    """Choose tokens with the longest context before them and a token after them, evenly from all files."""
    store, sizes = subject.store, context_sizes(subject, settings.longest_context)
    files = np.flatnonzero(store.lengths > sizes[-1])
    wanted = _wanted_targets(subject, settings, sizes)
    if not len(files) or not wanted:
        return Targets(np.zeros(0, np.int64), np.zeros(0, np.int64))
    each = -(-wanted // len(files))
    drawn = [_places(store, int(file), sizes[-1], each, settings.seed) for file in files]
    numbers, places = np.repeat(files, [len(found) for found in drawn]), np.concatenate(drawn)
    # the places of a file are in random order already, so their ranks serve as the noise
    noise = np.concatenate([np.arange(len(found)) for found in drawn]).astype(np.uint64)
    kept = np.sort(_spread(numbers, noise)[:wanted])
    return Targets(numbers[kept], places[kept])


def window_steps(store: TokenStore, windows: list[Window]) -> list[list[Window]]:
    """Group the windows into steps, each in one language and with all chosen windows of its files.

    A file must not be split: intervals are over files, so each file's sums have to be complete in one step.
    """
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
    """An order that takes one item of every file, then a second one of each, and so on; ties broken by the noise.

    Intervals shrink with the number of files, not of tokens, so a budget is best spent on as many files as possible.
    """
    by_file = np.lexsort((noise, files))
    sorted_files = files[by_file]
    first = np.searchsorted(sorted_files, sorted_files)
    round_of = np.empty(len(files), dtype=np.int64)
    round_of[by_file] = np.arange(len(files)) - first
    return np.lexsort((files, noise, round_of))


def _places(store: TokenStore, file: int, longest: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng([seed, int(store.seeds[file])])
    possible = np.arange(longest - 1, int(store.lengths[file]) - 1)
    possible = possible[~store.boilerplate[store.offsets[file] + possible]]
    return random.permutation(possible)[:most]


def _wanted_tokens(subject: Subject, settings: AgreementSettings) -> int:
    everything = int(subject.store.counted.sum())
    if settings.tokens is None:
        affordable = int(READING_OPERATIONS / (_lens_operations(subject.model) * PROJECTIONS))
        return min(everything, max(FEWEST_TOKENS, affordable))
    return settings.tokens or everything


def _wanted_targets(subject: Subject, settings: AgreementSettings, sizes: list[int]) -> int:
    if settings.targets is not None:
        return settings.targets
    body = _body_operations(subject.model)
    affordable = CONTEXT_OPERATIONS / (sum(sizes) * body + len(sizes) * _lens_operations(subject.model))
    return min(MOST_TARGETS, max(FEWEST_TARGETS, int(affordable)))


def _body_operations(model: CodeModel) -> float:
    """Floating-point operations of a forward pass without head, for one token; attention to others is left out."""
    return 2.0 * sum(each.numel() for each in model.model.base_model.parameters())


def _lens_operations(model: CodeModel) -> float:
    """Floating-point operations to project every layer into the vocabulary once, for one token."""
    return 2.0 * model.facts.n_layers * model.unembedding.numel()
