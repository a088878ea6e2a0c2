"""What masking single keys really does to a concept's tokens, to hold against what their gradients predict.

A gradient sees no further than its own neighbourhood. A key that writes so much that a norm or a softmax is saturated
has hardly any, and yet a great deal depends on it. Integrating gradients over a layer scaled down as a whole (Dai et al.
2022) does not help single keys: half a layer missing is another model, and the scores are that model's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import Places
from keyscope.worker.model.framing import Source
from keyscope.worker.model.taps import mask_coefficients
from keyscope.worker.precompute.windows import Batch
from keyscope.worker.progress import Advance

FloatArray = npt.NDArray[np.float64]
_OFF = Scale(0.0)


def to_mask(causal: FloatArray, largest_writes: FloatArray, first: int, writers: int) -> npt.NDArray[np.int64]:
    """The keys to mask, ascending: those with the highest gradients' scores, and those that write most at any place.

    Args:
        causal: [keys], what masking each would cost by its gradient.
        largest_writes: [keys], the largest |coefficient| times length of the value.
        first: how many of the first.
        writers: how many of the second.
    """
    chosen = [np.argsort(-causal, kind="stable")[:first], np.argsort(-largest_writes, kind="stable")[:writers]]
    return np.unique(np.concatenate(chosen))


@torch.inference_mode()
def masked_losses(
    subject: Subject, batch: Batch, at: Places, sites: npt.NDArray[np.bool_], keys: Sequence[KeyId], advance: Advance
) -> FloatArray:
    """Log-probability that the sites of one window lose together when each key alone is masked throughout, [keys].

    Args:
        subject: the run.
        batch: the window.
        at: its tokens.
        sites: the tokens whose log-probabilities are summed, [tokens]; never the first of the window.
        keys: the keys.
        advance: called now and then, so the caller can interrupt.
    """
    model = subject.model
    places = at.flat[torch.from_numpy(np.flatnonzero(sites)).to(model.device)]
    # what comes after the last site predicts none
    ids = batch.token_ids[:, : int(places.max()) + 1]

    def total(rows: int) -> Tensor:
        source = batch.source and Source(*(each.expand(rows, -1) for each in batch.source))
        hidden = model.run_body(ids.expand(rows, -1), source=source)[:, places - 1]
        logprobs = model.head(hidden).float().log_softmax(dim=-1)
        found: Tensor = logprobs.gather(2, ids[0, places].expand(rows, -1)[..., None])[..., 0]
        return found.double().sum(dim=1)

    whole = total(1)
    lost = []
    for start in range(0, len(keys), subject.batch):
        some = keys[start : start + subject.batch]
        with mask_coefficients(model, [[Mask(key, _OFF)] for key in some]):
            lost.append(whole - total(len(some)))
        advance(0)
    return torch.cat(lost).cpu().numpy()
