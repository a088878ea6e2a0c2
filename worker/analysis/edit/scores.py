"""How well the model predicts given tokens, without sorting the vocabulary, and how far its predictions have moved."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.analyses.edit import MEASURES
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import LogitsNotFinite

FloatArray = npt.NDArray[np.float64]
ACCURACY, LOSS, RANK, KL = range(len(MEASURES))
_ROWS = 512
"""Places whose logits are held at a time: few enough to stay near the processor while they are read several times."""


@dataclass
class Before:
    """The predictions that others are compared with, kept by the first call of `score` and read by later ones."""

    probabilities: list[Tensor] = field(default_factory=list)
    """[up to _ROWS places, rows of the head] each."""
    entropies: list[Tensor] = field(default_factory=list)


@torch.inference_mode()
def score(model: CodeModel, residual: Tensor, targets: Tensor, before: Before) -> FloatArray:
    """Accuracy (0 or 1), loss in nats, log rank of the true token and KL(before‖now) in nats, [4, places].

    The rank is one more than the number of tokens with a higher logit. Only the tokenizer's tokens count; a padded head
    has rows for none. The loss is over all rows, as the model was trained. The logarithm, since averaged ranks would be
    decided by the few worst places.

    Args:
        model: the model.
        residual: normed residuals the predictions are made from, [places, width].
        targets: the true tokens, [places].
        before: the unmasked model's predictions at the same places; an empty one is filled.

    Raises:
        LogitsNotFinite: the mask drove the model out of the range of its numbers.
    """
    parts = [
        _score(model, rows, true, before, number)
        for number, (rows, true) in enumerate(zip(residual.split(_ROWS), targets.split(_ROWS), strict=True))
    ]
    scores = torch.cat(parts, dim=1).cpu().numpy().astype(np.float64)
    # no logit is greater than NaN, so such a place would get rank 1; any NaN or infinity that matters is in its loss
    lost = int((~np.isfinite(scores[LOSS])).sum())
    if lost:
        raise LogitsNotFinite(
            f"the logits of the edited model are not finite at {lost} of {len(targets)} places: "
            "choose factors nearer to 1, or a dtype with a wider range"
        )
    return scores


def _score(model: CodeModel, residual: Tensor, targets: Tensor, before: Before, part: int) -> Tensor:
    logits = model.head(residual).float()
    true = logits.gather(1, targets[:, None])
    ranks = 1 + (logits[:, : model.facts.vocabulary] > true).sum(dim=1)
    total = logits.logsumexp(dim=1)
    if part == len(before.probabilities):
        kept = (logits - total[:, None]).exp_()
        before.probabilities.append(kept)
        before.entropies.append(total - _mean(kept, logits))
    # Σ p (log p − log q); rounding can take it below 0
    moved = total - _mean(before.probabilities[part], logits) - before.entropies[part]
    return torch.stack([(ranks == 1).float(), total - true[:, 0], ranks.float().log(), moved.clamp_min(0)])


def _mean(probabilities: Tensor, logits: Tensor) -> Tensor:
    """Each row's mean logit under its probabilities, [places]."""
    return torch.einsum("pv,pv->p", probabilities, logits)
