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
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.lens import LayerPass, lens, normed_lens, read_layers, top_tokens
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.progress import Advance


def read_contexts(subject: Subject, targets: Targets, sizes: Sequence[int], advance: Advance) -> Arrays:
    """Read the top token of every layer after each target, for each size of context.

    Returns:
        `tops` [sizes, layers, n] and `final` [sizes, n], token ids; `following` [n], the tokens that actually follow;
        `files` [n], the targets' files.
    """
    store, layers = subject.store, subject.model.facts.n_layers
    at = store.offsets[targets.files] + targets.places
    tops = np.empty((len(sizes), layers, len(targets)), dtype=np.int64)
    final = np.empty((len(sizes), len(targets)), dtype=np.int64)
    for number, size in enumerate(sizes):
        for chosen, ids in _batches(subject, at, size):
            tops[number, :, chosen], final[number, chosen] = read_last(subject, ids)
            advance(len(ids) * size)
    return {"files": targets.files, "following": store.token_ids[at + 1], "tops": tops, "final": final}


@torch.inference_mode()
def read_last(subject: Subject, token_ids: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The top token after each layer at the last position of each row, [layers, rows], and the model's own, [rows]."""
    model = subject.model
    found: list[Tensor] = []

    def consume(layer: LayerPass) -> None:
        found.append(top_tokens(model, layer.after[:, -1], partial(lens, model)))

    with read_layers(model, consume):
        normed = model.run_body(token_ids)[:, -1]
    own = top_tokens(model, normed, partial(normed_lens, model))
    return torch.stack(found).cpu().numpy(), own.cpu().numpy()


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
