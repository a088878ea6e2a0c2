"""The token each key's value promotes most, and whether that token follows the key's strongest trigger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.lens import in_chunks
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]
PROJECTIONS = {"normed": True, "raw": False}
"""With the final norm's gain, as the model reads the residual; and E·v alone, as Geva et al. 2021 did."""
_STRONGEST = """
    SELECT "index", file_id, start + position FROM (
        SELECT *, row_number() OVER (PARTITION BY "index" ORDER BY coefficient DESC, language) AS place
        FROM triggers WHERE layer = ? AND polarity = 'max' AND rank = 1 AND coefficient > 0
    ) JOIN windows USING (window_id) WHERE place = 1 ORDER BY "index\""""


@dataclass(frozen=True)
class ValueTops:
    """The tokens a layer's values write towards by L(v); each [keys], on the model's device."""

    promoted: Tensor
    suppressed: Tensor
    """The token with the lowest logit, which a value promotes when its coefficient is negative."""
    lengths: Tensor

    def permuted(self, generator: torch.Generator) -> "ValueTops":
        """Deal the tokens to other keys and leave the lengths where they are: the same keys win, with other tokens."""
        order = torch.randperm(len(self.promoted), generator=generator).to(self.promoted.device)
        return ValueTops(self.promoted[order], self.suppressed[order], self.lengths)

    def predicts(self, keys: Tensor, coefficients: Tensor) -> Tensor:
        """The token that keys with these coefficients promote most; all of one shape."""
        return torch.where(coefficients < 0, self.suppressed[keys], self.promoted[keys])


@torch.inference_mode()
def read_values(subject: Subject, layer: int, seed: int, advance: Advance) -> Arrays:
    """Read a layer's values: their top tokens, and the rank of the token after each key's strongest trigger.

    Returns:
        per projection `promoted`, `suppressed`, `probability` and the ranks `rank` and `rank_permuted`, each [keys]; a
        rank is 0 for a key that never fires or whose strongest trigger ends a file. `files` [keys], that trigger's
        file, or -1.
    """
    values = subject.model.layers[layer].writes
    files, following = _following(subject, layer)
    order = np.random.default_rng([seed, layer]).permutation(len(values))
    arrays: dict[str, npt.NDArray[np.generic]] = {"files": files}
    for name, normed in PROJECTIONS.items():
        tokens = torch.from_numpy(following).to(values.device)
        # value order[i] replaces value i, so token i is looked up in the projection of value order[i]; looking up
        # argsort(order) here and reordering below gives the same and projects every value only once
        dealt = torch.from_numpy(following[np.argsort(order)]).to(values.device)
        parts = []
        for chunk in zip(*(in_chunks(subject.model, each) for each in (values, tokens, dealt)), strict=True):
            advance(0)
            parts.append(_read(subject.model, normed, *chunk))
        for what in parts[0]:
            arrays[f"{name}_{what}"] = torch.cat([part[what] for part in parts]).cpu().numpy()
        arrays[f"{name}_rank_permuted"] = arrays[f"{name}_rank_permuted"][order]
    return arrays


def value_tops(model: CodeModel, found: Sequence[Arrays]) -> list[ValueTops]:
    """The values of every layer from what `read_values` returned, with their lengths."""
    return [
        ValueTops(
            torch.from_numpy(arrays["normed_promoted"]).to(model.device),
            torch.from_numpy(arrays["normed_suppressed"]).to(model.device),
            layer.writes.float().norm(dim=1),
        )
        for layer, arrays in zip(model.layers, found, strict=True)
    ]


def _read(model: CodeModel, normed: bool, values: Tensor, own: Tensor, other: Tensor) -> dict[str, Tensor]:
    logits = model.project(values, normed)
    return {
        "promoted": logits.argmax(dim=1),
        "suppressed": logits.argmin(dim=1),
        "probability": (logits.amax(dim=1) - logits.logsumexp(dim=1)).exp(),
        "rank": _rank(logits, own),
        "rank_permuted": _rank(logits, other),
    }


def _rank(logits: Tensor, tokens: Tensor) -> Tensor:
    """Rank of one token in each row, from 1; 0 if the token is -1."""
    at = logits.gather(1, tokens.clamp_min(0)[:, None])
    return torch.where(tokens < 0, 0, 1 + (logits > at).sum(dim=1))


def _following(subject: Subject, layer: int) -> tuple[IntArray, IntArray]:
    """File of each key's strongest trigger and the token after it, [keys]; -1 if there is none."""
    store, keys = subject.store, subject.model.layers[layer].n_keys
    files, following = np.full(keys, -1, dtype=np.int64), np.full(keys, -1, dtype=np.int64)
    prefix = len(subject.model.facts.bos)
    found = np.array(subject.connection.cursor().execute(_STRONGEST, [layer]).fetchall(), dtype=np.int64)
    if len(found):
        index, file, place = found.T
        place = place - prefix + 1
        followed = place < store.lengths[file]
        index, file, place = index[followed], file[followed], place[followed]
        files[index] = file
        following[index] = store.token_ids[store.offsets[file] + place]
    return files, following
