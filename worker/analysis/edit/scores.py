"""How well the model predicts given tokens: accuracy, loss and rank, without sorting the vocabulary."""

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
"""Places whose logits are held at a time."""


@torch.inference_mode()
def score(model: CodeModel, residual: Tensor, targets: Tensor) -> FloatArray:
    """Accuracy (0 or 1), loss in nats and log rank of the true token for each prediction, [3, places].

    The rank is one more than the number of tokens with a higher logit. Only the tokenizer's tokens count; a padded head
    has rows for none. The loss is over all rows, as the model was trained. The logarithm, since averaged ranks would be
    decided by the few worst places.

    Args:
        model: the model.
        residual: normed residuals the predictions are made from, [places, width].
        targets: the true tokens, [places].

    Raises:
        LogitsNotFinite: the mask drove the model out of the range of its numbers.
    """
    parts = [_score(model, rows, true) for rows, true in zip(residual.split(_ROWS), targets.split(_ROWS), strict=True)]
    scores = torch.cat(parts, dim=1).cpu().numpy().astype(np.float64)
    # no logit is greater than NaN, so such a place would get rank 1; any NaN or infinity that matters is in its loss
    lost = int((~np.isfinite(scores[LOSS])).sum())
    if lost:
        raise LogitsNotFinite(
            f"the logits of the edited model are not finite at {lost} of {len(targets)} places: "
            "choose factors nearer to 1, or a dtype with a wider range"
        )
    return scores


def _score(model: CodeModel, residual: Tensor, targets: Tensor) -> Tensor:
    logits = model.head(residual).float()
    true = logits.gather(1, targets[:, None])
    ranks = 1 + (logits[:, : model.facts.vocabulary] > true).sum(dim=1)
    loss = logits.logsumexp(dim=1) - true[:, 0]
    return torch.stack([(ranks == 1).float(), loss, ranks.float().log()])
