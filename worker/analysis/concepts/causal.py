"""What each key contributes to a concept's tokens: coefficient times gradient of their log-probability.

To first order, c · ∂ log p / ∂c is what masking the key would cost, and one backward pass gives it for all keys. The
gradient goes through everything above the key, later attention and later keys included, at every position of a window.
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
    """Sums over sites of the contribution of every key of every layer."""

    def __init__(self, model: CodeModel) -> None:
        self._model = model
        sizes = model.facts.keys_per_layer
        self._sums = [torch.zeros(keys, dtype=torch.float64, device=model.device) for keys in sizes]
        self._lengths = [layer.values.float().norm(dim=1) for layer in model.layers]
        self._writes = [torch.zeros(keys, device=model.device) for keys in sizes]
        self.sites = 0

    def add(self, batch: Batch, at: Places, sites: npt.NDArray[np.bool_]) -> None:
        """Run the windows of a batch forward and back.

        The log-probabilities of all sites are summed before the gradient is taken: a sum of gradients is the gradient
        of the sum, so one backward pass serves all sites.

        Args:
            batch: the windows.
            at: their tokens.
            sites: the tokens whose log-probabilities are attributed, [tokens]; never the first of a window.
        """
        model = self._model
        rows, columns = batch.token_ids.shape
        places = at.flat[torch.from_numpy(np.flatnonzero(sites)).to(model.device)]
        coefficients: dict[int, Tensor] = {}
        with torch.enable_grad(), _differentiable(model), read_coefficients(model, coefficients.__setitem__):
            hidden = batch.run(model).flatten(0, 1)
        with torch.enable_grad():
            logits = model.head(hidden[places - 1]).float()
            targets = batch.token_ids.reshape(rows * columns)[places]
            total = logits.log_softmax(dim=-1).gather(1, targets[:, None]).sum()
            found = [coefficients[layer.layer] for layer in model.layers]
            gradients = torch.autograd.grad(total, found)
        rows_and_tokens = (0, 1)
        for layer, (coefficient, gradient) in enumerate(zip(found, gradients, strict=True)):
            # padding is to the right of every site, so its gradient is 0; float64 for sums over the whole corpus
            there = coefficient.detach().float()
            self._sums[layer] += (there * gradient.float()).sum(dim=rows_and_tokens).double()
            written = there.abs().amax(dim=rows_and_tokens) * self._lengths[layer]
            self._writes[layer] = torch.maximum(self._writes[layer], written)
        self.sites += int(sites.sum())

    def array(self) -> npt.NDArray[np.float64]:
        """The sums, [keys of all layers]."""
        return torch.cat(self._sums).cpu().numpy()

    def largest_writes(self) -> npt.NDArray[np.float64]:
        """The largest |coefficient| times length of the value in these windows, [keys of all layers]."""
        return torch.cat(self._writes).double().cpu().numpy()


@contextmanager
def _differentiable(model: CodeModel) -> Iterator[None]:
    """Record gradients from the embeddings upwards: the weights are frozen, so without this there is no graph."""
    embeddings = model.model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())
    try:
        yield
    finally:
        hook.remove()
