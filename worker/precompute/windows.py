"""Cutting files into windows, windows of equal length into batches, and windows into the parts of two stacks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.framing import NOWHERE, Shared, Source, encoded, padded, share
from keyscope.worker.precompute.token_store import Sharing, TokenStore

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
NOISE = 0.15
"""Share of a file's tokens that are in spans, and the mean length of a span: T5's (Raffel et al. 2020, section 3.3.4)."""
MEAN_SPAN = 3
_KEPT = np.uint64(1) << np.uint64(41)
"""Makes the lengths of what lies between spans independent of the spans' own."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A span of one file's tokens; its first `burn_in` tokens are read for context only and count in the window before."""

    file: int
    start: int
    length: int
    burn_in: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows for one forward: `token_ids` is [windows, columns], shorter ones padded on the right.

    The columns are prefix and window. Where attention is causal, padding after a window's end cannot affect its tokens and
    needs no attention mask; an encoder needs one. A decoder beside an encoder has the columns that `share` gives it.
    """

    windows: tuple[Window, ...]
    token_ids: Tensor
    read: tuple[int, ...]
    """Columns of each window that are no padding."""
    prefix: int
    attention_mask: Tensor | None = None
    source: Source | None = None
    """What the encoder beside a decoder reads."""
    columns: IntArray | None = None
    """Where the tokens of each window are, [windows, longest], -1 for those that the encoder has; None: behind the prefix."""

    def run(self, model: CodeModel) -> Tensor:
        """Run the model without its head: normed residual, [windows, columns, width]. Hooks fire."""
        return model.run_body(self.token_ids, self.attention_mask, self.source)

    def flat(self, rows: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> IntArray:
        """Where tokens, given by row and by position in their window, are in the flattened batch."""
        columns = self.prefix + positions if self.columns is None else self.columns[rows, positions]
        found: IntArray = rows * self.token_ids.shape[1] + columns
        return found

    def on_windows(self, values: Tensor) -> Tensor:
        """Values of columns as values of the windows' tokens, [windows, columns, …] → [windows, longest, …].

        NaN where a token is the encoder's; whatever is in the padding.
        """
        longest = self.windows[0].length
        if self.columns is None:
            return values[:, self.prefix : self.prefix + longest]
        columns = torch.from_numpy(self.columns).to(values.device)
        found = values[torch.arange(len(columns), device=values.device)[:, None], columns.clamp_min(0)]
        found[columns < 0] = torch.nan
        return found

    @property
    def n_tokens(self) -> int:
        """Tokens of the windows, without prefix, burn-in and padding."""
        return sum(window.length - window.burn_in for window in self.windows)


@dataclass(frozen=True, slots=True)
class Cut:
    """How files are cut: windows of `size` tokens, each overlapping the one before it by `burn_in`.

    Every token of a file counts in exactly one window: the first in which `burn_in` tokens stand before it, or in the
    file's first.
    """

    size: int
    burn_in: int = 0

    @classmethod
    def of(cls, settings: RunSettings) -> "Cut":
        """The cut of a run."""
        return cls(settings.window, settings.burn_in)

    @property
    def stride(self) -> int:
        """Tokens from the start of one window to that of the next."""
        return self.size - self.burn_in

    def count(self, lengths: IntArray) -> IntArray:
        """Number of windows of files with these numbers of tokens."""
        return np.where(lengths > 0, 1 + np.maximum(0, -(-(lengths - self.size) // self.stride)), 0)

    def number(self, positions: IntArray) -> IntArray:
        """Number, from 0 in its file, of the window in which the token at each position of a file counts."""
        return np.maximum(0, positions - self.burn_in) // self.stride

    def window(self, file: int, start: int, n_tokens: int) -> Window:
        """The window of a file with that many tokens that starts at a token; the last one may be shorter."""
        return Window(file, start, min(self.size, n_tokens - start), self.burn_in if start else 0)

    def start(self, positions: IntArray) -> IntArray:
        """Position in its file of the first token of that window."""
        return self.number(positions) * self.stride


def windows_of(file: int, n_tokens: int, cut: Cut) -> list[Window]:
    """The windows of a file with that many tokens, in order; the last one may be shorter."""
    return [
        cut.window(file, start, n_tokens)
        for start in range(0, max(n_tokens - cut.burn_in, min(n_tokens, 1)), cut.stride)
    ]


def counted(store: TokenStore, window: Window) -> BoolArray:
    """Which tokens of a window count: those after its burn-in and outside boilerplate, [length]."""
    begin = int(store.offsets[window.file]) + window.start
    found: BoolArray = ~store.boilerplate[begin : begin + window.length]
    found[: window.burn_in] = False
    return found


def predicted(store: TokenStore, window: Window) -> BoolArray:
    """Which tokens of a window count and have one before them that predicts them, [length]."""
    found = counted(store, window)
    found[0] = False
    return found


def batches(
    store: TokenStore, files: Iterable[int], cut: Cut, batch: int, prefix: list[int], device: torch.device
) -> Iterator[Batch]:
    """All windows of some files in which a token counts: full ones in file order, then shorter ones, longest first.

    That order limits padding.
    """
    everything = (window for file in files for window in windows_of(file, int(store.lengths[file]), cut))
    windows = [window for window in everything if counted(store, window).any()]
    full = [window for window in windows if window.length == cut.size]
    tails = sorted(
        (window for window in windows if window.length < cut.size), key=lambda each: (-each.length, each.file)
    )
    for group in (full, tails):
        yield from in_batches(store, group, batch, prefix, device)


def in_batches(
    store: TokenStore, windows: Sequence[Window], batch: int, prefix: list[int], device: torch.device
) -> Iterator[Batch]:
    """Batches of windows in their order; the first window of each batch must be its longest."""
    for chosen in _groups(windows, batch):
        if store.sharing is not None:
            yield _shared(store, store.sharing, chosen, device)
            continue
        ids = np.zeros((len(chosen), len(prefix) + chosen[0].length), dtype=np.int64)
        ids[:, : len(prefix)] = prefix
        for row, window in enumerate(chosen):
            begin = store.offsets[window.file] + window.start
            span = store.token_ids[begin : begin + window.length]
            ids[row, len(prefix) : len(prefix) + window.length] = span
        read = tuple(len(prefix) + window.length for window in chosen)
        yield Batch(chosen, torch.from_numpy(ids).to(device), read, len(prefix))


def _shared(store: TokenStore, sharing: Sharing, windows: tuple[Window, ...], device: torch.device) -> Batch:
    """A batch of one stack of an encoder–decoder."""
    framing, parts = sharing.framing, list[Shared]()
    for window in windows:
        begin = int(store.offsets[window.file]) + window.start
        ids, decoded = store.token_ids[begin : begin + window.length].tolist(), sharing.decoded(begin, window.length)
        parts.append(Shared(encoded(framing, ids), [], NOWHERE) if decoded is None else share(framing, ids, decoded))
    source = padded([part.source for part in parts], framing.padding, device)
    if sharing.task == "encode":
        read = tuple(len(part.source) for part in parts)
        return Batch(windows, source.token_ids, read, len(framing.prefix), source.attention_mask)
    target = padded([part.target for part in parts], framing.padding, device)
    columns = np.full((len(windows), windows[0].length), -1, dtype=np.int64)
    for row, part in enumerate(parts):
        columns[row, : len(part.places)] = part.places
    read = tuple(len(part.target) for part in parts)
    return Batch(windows, target.token_ids, read, 0, source=source, columns=columns)


def _groups(windows: Sequence[Window], size: int) -> Iterator[tuple[Window, ...]]:
    for start in range(0, len(windows), size):
        yield tuple(windows[start : start + size])


def window_noise(store: TokenStore, windows: tuple[Window, ...], seed: int) -> npt.NDArray[np.uint64]:
    """One pseudo-random number per window, from the file's content and the window's place in it alone."""
    files = np.array([window.file for window in windows])
    starts = np.array([window.start for window in windows], dtype=np.uint64)
    return mix(store.seeds[files] + mix(starts + np.uint64(seed)))


def token_noise(store: TokenStore, windows: tuple[Window, ...], longest: int, seed: int) -> npt.NDArray[np.uint64]:
    """One pseudo-random number per token, [windows, longest], made like `window_noise`."""
    files = np.array([window.file for window in windows])
    starts = np.array([window.start for window in windows], dtype=np.uint64)
    positions = np.add(starts[:, None], np.arange(longest, dtype=np.uint64), dtype=np.uint64)
    # 2^40 is beyond every position: tokens and windows draw from separate streams
    return mix(store.seeds[files][:, None] + mix(positions + np.uint64(seed) + np.uint64(1 << 40)))


def mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): neighbouring inputs give unrelated outputs."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        z = numbers + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def for_task(store: TokenStore, model: CodeModel, settings: RunSettings) -> TokenStore:
    """The corpus as a run reads it: for a task of an encoder–decoder, shared out between its stacks.

    In a decoder's run only the tokens given to the decoder count; the others are left out like boilerplate.
    """
    framing, task = model.facts.framing, settings.task
    if framing is None or task is None:
        return store
    spans = np.zeros(len(store.token_ids) if task == "denoise" else 0, dtype=np.bool_)
    if task == "denoise":
        for file in range(store.n_files):
            spans[store.tokens_of(file)] = noise_spans(int(store.lengths[file]), store.seeds[file])
    sharing = Sharing(task, framing, spans)
    if task == "encode":
        return replace(store, sharing=sharing)
    kept = np.array(store.boilerplate)
    for file in range(store.n_files):
        for window in windows_of(file, int(store.lengths[file]), Cut.of(settings)):
            begin = int(store.offsets[file]) + window.start
            decoded = sharing.decoded(begin, window.length)
            assert decoded is not None
            kept[begin + window.burn_in : begin + window.length] |= ~decoded[window.burn_in :]
    return replace(store, boilerplate=kept, sharing=sharing)


def noise_spans(n: int, seed: np.uint64) -> BoolArray:
    """Which of a file's tokens are in spans, [n]; from its content alone, so equal in all runs.

    As in T5: a share of the tokens in spans of random length, with stretches of random length before each of them.
    """
    noise = max(1, round(NOISE * n)) if n > 1 else 0
    spans = max(1, round(noise / MEAN_SPAN))
    lengths = np.zeros(2 * spans, dtype=np.int64)
    lengths[0::2] = _cut(n - noise, spans, seed + _KEPT)
    lengths[1::2] = _cut(noise, spans, seed)
    found: BoolArray = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    return found


def _cut(n: int, parts: int, seed: np.uint64) -> IntArray:
    """Lengths of `parts` parts of n tokens, none empty if there are enough, every such cut being as likely."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        drawn = mix(seed + np.arange(max(n - 1, 0), dtype=np.uint64))
    ends = np.sort(np.argsort(drawn, kind="stable")[: parts - 1]) + 1
    lengths: IntArray = np.diff(np.concatenate([[0], ends, [n]]))
    return np.pad(lengths, (0, parts - len(lengths)))
