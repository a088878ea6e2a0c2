"""The same tokens predicted with contexts of several sizes: only the text before them is cut off.

One forward pass over a long text would not do: its positions differ in what they are, not only in how much they see.
Here every size predicts the same targets, so a difference between sizes is the context's.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.agreement.plan import Targets
from keyscope.worker.analysis.agreement.ridge import Ridge, mapped
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.lens import LayerPass, lens, normed_lens, read_layers, top_tokens
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.progress import Advance


def read_contexts(
    subject: Subject, targets: Targets, sizes: Sequence[int], ridge: Ridge | None, advance: Advance
) -> Arrays:
    """Read the top token of every layer after each target, for each size of context.

    Returns:
        `tops` [sizes, layers, n] and `final` [sizes, n], token ids; `ridge_tops`, the same as `tops` by the ridge lens, if
        there is one; `following` [n], the tokens that actually follow; `files` [n], the targets' files.
    """
    store, layers = subject.store, subject.model.facts.n_layers
    at = store.offsets[targets.files] + targets.places
    tops, by_ridge = np.empty((2, len(sizes), layers, len(targets)), dtype=np.int64)
    final = np.empty((len(sizes), len(targets)), dtype=np.int64)
    for number, size in enumerate(sizes):
        for chosen, ids in _batches(subject, at, size):
            tops[number, :, chosen], by_ridge[number, :, chosen], final[number, chosen] = read_last(subject, ids, ridge)
            advance(len(ids) * size)
    found = {"files": targets.files, "following": store.token_ids[at + 1], "tops": tops, "final": final}
    return found if ridge is None else {**found, "ridge_tops": by_ridge}


@torch.inference_mode()
def read_last(
    subject: Subject, token_ids: Tensor, ridge: Ridge | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The top token after each layer at the last position of each row, and the model's own.

    Returns:
        [layers, rows] by the logit lens and by the ridge lens, which is the same if there is none; [rows].
    """
    model = subject.model
    found: list[Tensor] = []
    by_ridge: list[Tensor] = []

    def consume(layer: LayerPass) -> None:
        last = layer.after[:, -1]
        found.append(top_tokens(model, last, partial(lens, model)))
        by_ridge.append(
            found[-1]
            if ridge is None
            else top_tokens(model, mapped(ridge.maps, layer.layer, last), partial(lens, model))
        )

    with read_layers(model, consume):
        normed = model.run_body(token_ids)[:, -1]
    own = top_tokens(model, normed, partial(normed_lens, model))
    return torch.stack(found).cpu().numpy(), torch.stack(by_ridge).cpu().numpy(), own.cpu().numpy()


def _batches(subject: Subject, at: npt.NDArray[np.int64], size: int) -> Iterator[tuple[slice, Tensor]]:
    """Contexts of one size, as many at a time as hold the tokens of one batch of windows."""
    prefix = np.array(subject.model.facts.bos, dtype=np.int64)
    rows = max(1, subject.batch * subject.manifest.settings.window // size)
    for start in range(0, len(at), rows):
        chosen = slice(start, min(start + rows, len(at)))
        places = at[chosen, None] + np.arange(1 - size, 1)
        ids = np.concatenate(
            [np.tile(prefix, (len(places), 1)), subject.store.token_ids[places].astype(np.int64)], axis=1
        )
        yield chosen, torch.from_numpy(ids).to(subject.model.device)
