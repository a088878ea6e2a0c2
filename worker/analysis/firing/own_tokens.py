"""The tokens that keys fire on most among their stored triggers and samples, and what their values do to these."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.firing.blocks import Blocks
from keyscope.worker.analysis.firing.weights import token_logits
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.triggers import stored_examples

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
LISTED = 20
"""Tokens that a run lists for a key."""
_LISTED = 'SELECT "index", rank, token_id FROM fires_on WHERE layer = ? AND rank <= ?'


@dataclass(frozen=True)
class OwnTokens:
    """The tokens listed for the keys of a layer, those of a key in the order of their ids."""

    logits: FloatArray
    """[keys, tokens], L(v) over that of the mean token; NaN for none."""
    others: FloatArray
    """The same of the key before's tokens."""
    counts: npt.NDArray[np.uint32]
    """[blocks, keys, tokens], stored triggers and samples of the block on each, of which a place counts once."""


def listed_tokens(subject: Subject, layer: int, most: int) -> IntArray:
    """The tokens that each key of a layer fires on most, the commonest first, [keys, most]; -1 for none."""
    found = subject.connection.cursor().execute(_LISTED, [layer, most]).fetchnumpy()
    table = np.full((subject.manifest.model.keys_per_layer[layer], most), -1, dtype=np.int64)
    table[found["index"], found["rank"].astype(np.int64) - 1] = found["token_id"]
    return table


def read_own_tokens(subject: Subject, blocks: Blocks, layer: int) -> OwnTokens:
    """Read and count them for one layer."""
    tokens = np.sort(listed_tokens(subject, layer, LISTED), axis=1)
    feed_forward = subject.model.layers[layer]
    return OwnTokens(
        logits=token_logits(subject.model, feed_forward, tokens),
        others=token_logits(subject.model, feed_forward, np.roll(tokens, 1, axis=0)),
        counts=_counts(subject, blocks, layer, tokens),
    )


def mean_logits(counts: FloatArray, logits: FloatArray, most: int) -> FloatArray:
    """The mean over the tokens that keys fire on most, [draws, keys, tokens] → [draws, keys]; NaN for keys without any.

    Of tokens that are as common the one with the lowest id comes first, as in the run's list.
    """
    first = np.argsort(-counts, axis=-1, kind="stable")[..., :most]
    there = np.take_along_axis(counts, first, axis=-1) > 0
    chosen = np.take_along_axis(np.broadcast_to(logits, counts.shape), first, axis=-1)
    n = there.sum(axis=-1)
    mean = np.full(n.shape, np.nan)
    np.divide(np.where(there, chosen, 0).sum(axis=-1), n, out=mean, where=n > 0)
    return mean


def _counts(subject: Subject, blocks: Blocks, layer: int, tokens: IntArray) -> npt.NDArray[np.uint32]:
    key, place, file = stored_examples(subject, layer)
    codes = subject.model.facts.vocabulary + 1
    # those of all keys ascend, -1 for no token included
    listed = (np.arange(len(tokens))[:, None] * codes + tokens + 1).ravel()
    wanted = key * codes + subject.store.token_ids[place] + 1
    at = np.minimum(np.searchsorted(listed, wanted), len(listed) - 1)
    there = listed[at] == wanted
    cells = blocks.of_file[file[there]] * len(listed) + at[there]
    return np.bincount(cells, minlength=len(blocks) * len(listed)).reshape(len(blocks), *tokens.shape).astype(np.uint32)
