"""How well the model predicts some tokens, without ever sorting the vocabulary."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.contract.analyses.edit import MEASURES
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import LogitsNotFinite

FloatArray = npt.NDArray[np.float64]
ACCURACY, LOSS, RANK = range(len(MEASURES))
_ROWS = 2048
"""Places whose logits are held at once."""


@torch.inference_mode()
def score(model: CodeModel, residual: Tensor, targets: Tensor) -> FloatArray:
    """Each prediction's accuracy (0 or 1), loss in nats and logarithm of the true token's rank, [3, places].

    The rank is one more than the number of the tokenizer's tokens with a higher logit.

    Args:
        model: the model.
        residual: normed residual from which the predictions are made, [places, width].
        targets: the true tokens, [places].

    Raises:
        LogitsNotFinite: the model was driven out of the range of its numbers.
    """
    parts = [_score(model, rows, true) for rows, true in zip(residual.split(_ROWS), targets.split(_ROWS), strict=True)]
    scores = torch.cat(parts, dim=1).cpu().numpy().astype(np.float64)
    # nothing is greater than NaN, so such a place would have rank 1; its loss tells of any NaN or infinity that counts
    lost = int((~np.isfinite(scores[LOSS])).sum())
    if lost:
        raise LogitsNotFinite(
            f"the logits of the edited model are no finite numbers at {lost} of {len(targets)} places: "
            "choose factors nearer to 1, or a dtype of a wider range"
        )
    return scores


def _score(model: CodeModel, residual: Tensor, targets: Tensor) -> Tensor:
    logits = model.head(residual).float()
    true = logits.gather(1, targets[:, None])
    ranks = 1 + (logits[:, : model.facts.vocabulary] > true).sum(dim=1)
    loss = logits.logsumexp(dim=1) - true[:, 0]
    return torch.stack([(ranks == 1).float(), loss, ranks.float().log()])
