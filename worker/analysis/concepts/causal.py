"""What each key gives to a concept's tokens: coefficient times gradient of their log-probability.

To first order, c · ∂ log p / ∂c is what taking the key away would cost (Dai et al. 2022 with one step of the path). The
gradient goes through everything above the key, later attention and later keys included, at every place of a window.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.walk import Places
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Batch


class Gifts:
    """Sums over sites of what every key of every layer gave to them."""

    def __init__(self, model: CodeModel) -> None:
        self._model = model
        sizes = model.facts.keys_per_layer
        self._sums = [torch.zeros(keys, dtype=torch.float64, device=model.device) for keys in sizes]
        self.sites = 0

    def add(self, batch: Batch, at: Places, sites: npt.NDArray[np.bool_]) -> None:
        """Run the windows of a batch forward and back.

        Args:
            batch: the windows.
            at: their tokens.
            sites: which of the tokens' log-probabilities are split, [tokens]; the first of a window is none of them.
        """
        model = self._model
        rows, columns = batch.token_ids.shape
        places = at.flat[torch.from_numpy(np.flatnonzero(sites)).to(model.device)]
        coefficients: dict[int, Tensor] = {}
        with torch.enable_grad(), _differentiable(model), read_coefficients(model, coefficients.__setitem__):
            hidden = model.run_body(batch.token_ids).flatten(0, 1)
        with torch.enable_grad():
            logits = model.head(hidden[places - 1]).float()
            targets = batch.token_ids.reshape(rows * columns)[places]
            total = logits.log_softmax(dim=-1).gather(1, targets[:, None]).sum()
            found = [coefficients[layer.layer] for layer in model.layers]
            gradients = torch.autograd.grad(total, found)
        for sums, coefficient, gradient in zip(self._sums, found, gradients, strict=True):
            # padding gets no gradient, for no site sees what stands behind it
            sums += (coefficient.detach().float() * gradient.float()).sum(dim=(0, 1)).double()
        self.sites += int(sites.sum())

    def array(self) -> npt.NDArray[np.float64]:
        """The sums, [keys of all layers]."""
        return torch.cat(self._sums).cpu().numpy()


@contextmanager
def _differentiable(model: CodeModel) -> Iterator[None]:
    """Let gradients reach everything above the embeddings; the weights are frozen, so no other way begins anywhere."""
    embeddings = model.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())
    try:
        yield
    finally:
        hook.remove()
