"""Every layer read through two lenses, the logit lens and the ridge lens, at the tokens of files that neither was fitted on."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from keyscope.worker.analysis.agreement.ridge import Ridge, divergences, mapped
from keyscope.worker.analysis.lens import in_chunks, lens, normed_lens
from keyscope.worker.model.code_model import CodeModel

Which = tuple[str, str, str]
"""Lens, control and measure, as in the table."""
READ: tuple[tuple[str, str], ...] = (("logit", ""), ("ridge", ""), ("ridge", "shuffled_targets"))
LENS_MEASURES: tuple[Which, ...] = tuple(
    (*which, measure) for which in READ for measure in ("agreement", "kl", "settled")
)
"""Everything summed over all tokens; `settled` is what prediction depth follows from."""
LENS_SPLITS: tuple[Which, ...] = tuple((*which, "settled") for which in READ[:2])
"""Everything summed for each part of a split."""


def settled(agrees: Tensor) -> Tensor:
    """The layer from which on each token's prediction agrees, as a mark in that layer, [layers, n] → [layers, n]."""
    since = agrees.flip(0).int().cumprod(dim=0).flip(0).bool()
    return since & ~torch.cat([torch.zeros_like(since[:1]), since[:-1]])


@torch.inference_mode()
def read_lenses(
    model: CodeModel, ridge: Ridge, residuals: Sequence[Tensor], normed: Tensor, final: Tensor
) -> Mapping[Which, Tensor]:
    """Every measure at every token, [layers, n].

    Args:
        model: the model.
        ridge: the ridge lens.
        residuals: per layer, the residual after it, [n, width].
        normed: the last one after the final norm, [n, width].
        final: the model's own token, [n].
    """
    found: dict[Which, list[Tensor]] = {which: [] for which in LENS_MEASURES}
    chunks = zip(in_chunks(model, normed), in_chunks(model, final), strict=True)
    split = [in_chunks(model, residual) for residual in residuals]
    for number, (own_normed, own) in enumerate(chunks):
        own_logits = normed_lens(model, own_normed)
        for lens_name, control in READ:
            read = partial(_mapped, ridge, lens_name, control)
            agrees, kl = [], []
            for layer, parts in enumerate(split):
                logits = lens(model, read(layer, parts[number]))
                agrees.append(logits.argmax(dim=1) == own)
                kl.append(divergences(own_logits, logits))
            agreement = torch.stack(agrees)
            for measure, values in (("agreement", agreement), ("kl", torch.stack(kl)), ("settled", settled(agreement))):
                found[lens_name, control, measure].append(values)
    return {which: torch.cat(parts, dim=1) for which, parts in found.items()}


def _mapped(ridge: Ridge, lens_name: str, control: str, layer: int, residual: Tensor) -> Tensor:
    if lens_name == "logit":
        return residual
    return mapped(ridge.shuffled if control else ridge.maps, layer, residual)
