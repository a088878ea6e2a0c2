"""Sharing out the windows of a corpus between the two stacks of an encoder–decoder."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.token_store import Sharing, TokenStore
from keyscope.worker.precompute.windows import Cut, mix, windows_of

NOISE = 0.15
"""Share of a file's tokens that are in spans, and the mean length of a span: T5's (Raffel et al. 2020, section 3.3.4)."""
MEAN_SPAN = 3
_KEPT = np.uint64(1) << np.uint64(41)
"""Makes the lengths of what lies between spans independent of the spans' own."""


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


def noise_spans(n: int, seed: np.uint64) -> npt.NDArray[np.bool_]:
    """Which of a file's tokens are in spans, [n]; from its content alone, so equal in all runs.

    As in T5: a share of the tokens in spans of random length, with stretches of random length before each of them.
    """
    noise = max(1, round(NOISE * n)) if n > 1 else 0
    spans = max(1, round(noise / MEAN_SPAN))
    lengths = np.zeros(2 * spans, dtype=np.int64)
    lengths[0::2] = _cut(n - noise, spans, seed + _KEPT)
    lengths[1::2] = _cut(noise, spans, seed)
    found: npt.NDArray[np.bool_] = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    return found


def _cut(n: int, parts: int, seed: np.uint64) -> npt.NDArray[np.int64]:
    """Lengths of `parts` parts of n tokens, none empty if there are enough, every such cut being as likely."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        drawn = mix(seed + np.arange(max(n - 1, 0), dtype=np.uint64))
    ends = np.sort(np.argsort(drawn, kind="stable")[: parts - 1]) + 1
    lengths: npt.NDArray[np.int64] = np.diff(np.concatenate([[0], ends, [n]]))
    return np.pad(lengths, (0, parts - len(lengths)))
