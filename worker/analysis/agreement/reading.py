"""One forward pass over a batch, and what every layer predicts at each of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.analysis.agreement.lenses import Which, read_lenses
from keyscope.worker.analysis.agreement.ridge import Ridge
from keyscope.worker.analysis.agreement.values import ValueTops
from keyscope.worker.analysis.lens import LayerPass, in_chunks, lens, normed_lens, read_layers, top_tokens
from keyscope.worker.analysis.walk import Places
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute.windows import Batch


@dataclass(frozen=True)
class Reading:
    """The layers' predictions at n tokens; every tensor but `final` and the lenses' is [layers, n], on the device."""

    final: Tensor
    """The model's own token, [n]."""
    residual: Tensor
    """Top token of the residual after the layer; the next ones are top tokens too."""
    before: Tensor
    """Of that residual less what the feed-forward layer added.

    In blocks whose attention runs in parallel this holds the attention of the same block, so it is the residual without
    the feed-forward layer in every architecture.
    """
    ff: Tensor
    ff_raw: Tensor
    value: Tensor
    """Of the value that wrote most, by |coefficient| times length."""
    value_permuted: Tensor
    zero_agreement: Tensor
    """Whether no firing key's value has the feed-forward output's top token (Geva et al. 2021, section 5.1)."""
    active: Tensor
    """Share of the keys with a coefficient above 0."""
    probability: Tensor
    """Of the model's own token after the layer."""
    rank: Tensor
    """Of the model's own token, from 1; tied tokens all take the best rank."""
    lenses: Mapping[Which, Tensor] | None
    """Every measure through both lenses at the tokens asked for, [layers, tokens]."""


@torch.inference_mode()
def read(
    model: CodeModel,
    batch: Batch,
    at: Places,
    values: Sequence[ValueTops],
    permuted: Sequence[ValueTops],
    ridge: Ridge | None,
    through_lenses: npt.NDArray[np.bool_],
) -> Reading:
    """Run a batch and read every token of it, and those marked, [n], through both lenses if there is a ridge lens."""
    after: list[Tensor] = []
    found: list[dict[str, Tensor]] = []

    def consume(layer: LayerPass) -> None:
        after.append(at.take(layer.after))
        written = at.take(layer.written)
        coefficients = at.take(layer.coefficients).float()
        number = layer.layer
        tops = _feed_forward(model, coefficients, written, values[number], permuted[number])
        found.append(tops | {"before": top_tokens(model, after[-1] - written, partial(lens, model))})

    with read_layers(model, consume):
        normed = at.take(batch.run(model))
    final = top_tokens(model, normed, partial(normed_lens, model))
    found = [tops | _against(model, residual, final) for tops, residual in zip(found, after, strict=True)]
    lenses = None
    if ridge is not None and through_lenses.any():
        some = torch.from_numpy(np.flatnonzero(through_lenses)).to(model.device)
        lenses = read_lenses(model, ridge, [residual[some] for residual in after], normed[some], final[some])
    return Reading(
        final=final, lenses=lenses, **{name: torch.stack([tops[name] for tops in found]) for name in found[0]}
    )


def _feed_forward(
    model: CodeModel, coefficients: Tensor, written: Tensor, values: ValueTops, permuted: ValueTops
) -> dict[str, Tensor]:
    """The predictions of a feed-forward layer as a whole, and of its strongest value alone."""
    prediction = top_tokens(model, written, partial(model.project, normed=True))
    strongest = (coefficients.abs() * values.lengths).argmax(dim=1, keepdim=True)
    there = coefficients.gather(1, strongest)
    alike = (values.promoted == prediction[:, None]) & (coefficients > 0)
    if model.facts.gated:  # a gated key writes as much with either sign; elsewhere it does not fire below 0
        alike |= (values.suppressed == prediction[:, None]) & (coefficients < 0)
    return {
        "ff": prediction,
        "ff_raw": top_tokens(model, written, partial(model.project, normed=False)),
        "value": values.predicts(strongest, there)[:, 0],
        "value_permuted": permuted.predicts(strongest, there)[:, 0],
        "zero_agreement": ~alike.any(dim=1),
        "active": (coefficients > 0).float().mean(dim=1),
    }


def _against(model: CodeModel, residual: Tensor, final: Tensor) -> dict[str, Tensor]:
    """The residual's top token, and the probability and rank it gives the model's own token."""
    parts = []
    for vectors, tokens in zip(in_chunks(model, residual), in_chunks(model, final), strict=True):
        logits = lens(model, vectors)
        there = logits.gather(1, tokens[:, None])
        probability = (there[:, 0] - logits.logsumexp(dim=1)).exp()
        parts.append((logits.argmax(dim=1), probability, 1 + (logits > there).sum(dim=1)))
    residual_top, probability, rank = (torch.cat(part) for part in zip(*parts, strict=True))
    return {"residual": residual_top, "probability": probability, "rank": rank}
