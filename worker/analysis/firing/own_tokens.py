"""The tokens that keys fire on most, by their stored triggers and samples, and what their values do to these."""

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
"""Tokens that a run lists for each key."""
_LISTED = 'SELECT "index", rank, token_id FROM fires_on WHERE layer = ? AND rank <= ?'


@dataclass(frozen=True)
class OwnTokens:
    """The tokens listed for the keys of a layer; those of a key are in the order of their ids."""

    logits: FloatArray
    """[keys, tokens], L(v) at the token less its mean over all tokens; NaN for no token."""
    others: FloatArray
    """The same for the tokens of the key before: the control."""
    counts: npt.NDArray[np.uint32]
    """[blocks, keys, tokens], stored triggers and samples on each token; a place counts once."""


def listed_tokens(subject: Subject, layer: int, most: int) -> IntArray:
    """The tokens each key of a layer fires on most, commonest first, [keys, most]; -1 for none."""
    found = subject.connection.cursor().execute(_LISTED, [layer, most]).fetchnumpy()
    table = np.full((subject.manifest.model.keys_per_layer[layer], most), -1, dtype=np.int64)
    table[found["index"], found["rank"].astype(np.int64) - 1] = found["token_id"]
    return table


def read_own_tokens(subject: Subject, blocks: Blocks, layer: int) -> OwnTokens:
    """Read and count the tokens of one layer."""
    tokens = np.sort(listed_tokens(subject, layer, LISTED), axis=1)
    feed_forward = subject.model.layers[layer]
    return OwnTokens(
        logits=token_logits(subject.model, feed_forward, tokens),
        others=token_logits(subject.model, feed_forward, np.roll(tokens, 1, axis=0)),
        counts=_counts(subject, blocks, layer, tokens),
    )


def mean_logits(counts: FloatArray, logits: FloatArray, most: int) -> FloatArray:
    """Mean logit over the tokens keys fire on most in each draw, [draws, keys, tokens] → [draws, keys]; NaN for none.

    Equally common tokens are ordered by id, as in the run's own list, so the draw of all files gives the estimate.
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
    # ascending over all keys, because each key's tokens are sorted; the -1 of missing tokens sorts first
    listed = (np.arange(len(tokens))[:, None] * codes + tokens + 1).ravel()
    wanted = key * codes + subject.store.token_ids[place] + 1
    at = np.minimum(np.searchsorted(listed, wanted), len(listed) - 1)
    there = listed[at] == wanted
    cells = blocks.of_file[file[there]] * len(listed) + at[there]
    return np.bincount(cells, minlength=len(blocks) * len(listed)).reshape(len(blocks), *tokens.shape).astype(np.uint32)
