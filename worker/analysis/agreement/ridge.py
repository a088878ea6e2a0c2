"""A trained lens: the affine map from each layer's residual to the last one, fitted by ridge regression.

The logit lens reads a residual as if later layers did nothing to it. In early layers the basis is another, so it sees
less than is there. A tuned lens (Belrose et al. 2023) learns the change of basis by gradient descent; its closed form
with squared error needs one pass and no learning rate. What a lens reads is there to be read, not what the model uses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.lens import in_chunks, lens
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.walk import places
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.taps import read_residuals
from keyscope.worker.precompute.windows import Batch, Window, in_batches
from keyscope.worker.progress import Advance

PENALTIES = (1e-6, 1e-4, 1e-2, 1.0)
"""Ridge penalties to choose from, in units of the mean square of a residual's entries."""
LEAST_PER_DIMENSION = 4
"""Fewest tokens for each entry of the residual: fewer fit noise."""
TUNING_TOKENS = 2048
"""Tokens on which the penalty is chosen; the residuals of all layers are held for them."""


@dataclass(frozen=True)
class Ridge:
    """Affine maps into the last residual, [layers, width + 1, width] each; the last row is the offset."""

    maps: Tensor
    shuffled: Tensor
    """Fitted on targets of other tokens: what a lens says that has learnt nothing but their mean."""

    @classmethod
    def of(cls, model: CodeModel, arrays: Arrays) -> "Ridge | None":
        """Read what `fit` returned; None if there were too few tokens."""
        if "maps" not in arrays:
            return None
        return cls(*(torch.from_numpy(arrays[name]).to(model.device) for name in ("maps", "shuffled")))


def mapped(maps: Tensor, layer: int, residual: Tensor) -> Tensor:
    """A layer's residual as its map carries it to the last layer, [n, width] in the residual's own type."""
    return (residual.float() @ maps[layer, :-1] + maps[layer, -1]).to(residual.dtype)


def fit(subject: Subject, windows: Sequence[Window], tuning: Sequence[Window], seed: int, advance: Advance) -> Arrays:
    """Fit a map for every layer in one pass, with the penalty of the smallest KL divergence on other windows.

    Sums are float64: residuals have entries of very different size, and the normal equations square them.

    Returns:
        `maps` and `shuffled`, as in `Ridge`; `penalties` [layers]; `fitted`, the number of tokens, which is all there is
        if they are too few.
    """
    model = subject.model
    width, layers = model.unembedding.shape[1], model.facts.n_layers
    square = torch.zeros(layers, width + 1, width + 1, dtype=torch.float64, device=model.device)
    cross = torch.zeros(2, layers, width + 1, width, dtype=torch.float64, device=model.device)
    generator = torch.Generator().manual_seed(seed)
    fitted = 0
    for residuals in _residuals(subject, windows, advance):
        order = torch.randperm(residuals.shape[1], generator=generator).to(model.device)
        last = residuals[-1].double()
        for layer, found in enumerate(residuals):
            known = torch.nn.functional.pad(found.double(), (0, 1), value=1.0)
            square[layer] += known.T @ known
            cross[0, layer] += known.T @ last
            cross[1, layer] += known.T @ last[order]
        fitted += residuals.shape[1]
    if fitted < LEAST_PER_DIMENSION * width:
        return {"fitted": np.array(fitted)}
    held = list(_residuals(subject, tuning, advance))
    tuned = torch.cat(held, dim=1)[:, :TUNING_TOKENS] if held else torch.zeros(layers, 0, width, device=model.device)
    maps, penalties = torch.zeros(2, layers, width + 1, width, device=model.device), np.zeros(layers)
    for layer in range(layers - 1):
        solved = [_solved(square[layer], cross[:, layer], penalty) for penalty in PENALTIES]
        losses = [_divergence(model, mapped(each[:1], 0, tuned[layer]), tuned[-1]) for each in solved]
        best = int(np.argmin(losses))
        maps[:, layer], penalties[layer] = solved[best], PENALTIES[best]
        advance(0)
    maps[0, -1, :-1] = torch.eye(width)  # the last residual is the target itself
    maps[1, -1] = _solved(square[-1], cross[:, -1], PENALTIES[0])[1]
    arrays = {name: found.cpu().numpy() for name, found in zip(("maps", "shuffled"), maps, strict=True)}
    return {**arrays, "penalties": penalties, "fitted": np.array(fitted)}


@torch.inference_mode()
def _residuals(subject: Subject, windows: Sequence[Window], advance: Advance) -> Iterator[Tensor]:
    """Residuals of all layers at the tokens of each batch that count and have a full burn-in, [layers, n, width]."""
    model, burn_in = subject.model, subject.manifest.settings.burn_in
    longest_first = sorted(windows, key=lambda window: (-window.length, window))
    for batch in in_batches(subject.store, longest_first, subject.batch, model.facts.bos, model.device):
        at = places(subject, batch)
        flat = at.flat[torch.from_numpy(np.flatnonzero(at.positions >= burn_in)).to(model.device)]
        yield _read_batch(model, batch, flat)
        advance(batch.n_tokens)


def _read_batch(model: CodeModel, batch: Batch, flat: Tensor) -> Tensor:
    found: list[Tensor] = []
    with read_residuals(model, lambda _layer, residual: found.append(residual.flatten(0, 1)[flat].float())):
        model.run_body(batch.token_ids)
    return torch.stack(found)


def _solved(square: Tensor, cross: Tensor, penalty: float) -> Tensor:
    """The maps of a layer, [2, width + 1, width] in float32; the offset is not penalised."""
    weights = (
        penalty * square.diagonal()[:-1].mean() * torch.ones(len(square), dtype=square.dtype, device=square.device)
    )
    weights[-1] = 0
    solved: Tensor = torch.linalg.solve(square + weights.diag(), cross)
    return solved.float()


@torch.inference_mode()
def _divergence(model: CodeModel, residual: Tensor, last: Tensor) -> float:
    """Mean KL divergence of the predictions from those of the last residual, in nats; 0 without any token."""
    total = 0.0
    for chunk, own in zip(in_chunks(model, residual), in_chunks(model, last), strict=True):
        if len(chunk):
            total += float(divergences(lens(model, own), lens(model, chunk)).double().sum())
    return total / max(len(residual), 1)


def divergences(own: Tensor, logits: Tensor) -> Tensor:
    """KL divergence of predictions from the model's own, both as logits [n, vocabulary], in nats, [n]."""
    logprobs = own.log_softmax(dim=1)
    probabilities = logprobs.exp()
    crossed = (probabilities * logits).sum(dim=1) - logits.logsumexp(dim=1)
    return (probabilities * logprobs).sum(dim=1) - crossed
