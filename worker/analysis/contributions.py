"""How much each key contributed to the next token: an exact split of a logit over the keys of all layers.

With the final norm's scale sigma at a position held fixed, the logits are linear in what was added to the residual:
logit_w = (1/sigma) · d_w · residual + constants, with d_w = center(gamma ⊙ E_w) for a LayerNorm and gamma ⊙ E_w for an
RMSNorm; a softcap comes after it. The residual is embeddings plus attention plus, per layer, the sum of coefficient times value and a bias. So
key i contributes c_i · (v_i · d_w) / sigma to token w, which is c_i · L(v_i)_w / sigma: the sub-updates of Geva et al.
2022, section 3.1, which leave the norm out.

The split is exact for the text as it ran. It does not say what removing a key would do: sigma, attention and later keys
would change too. For that, mask the key.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from keyscope.contract.keys import KeyId
from keyscope.worker.analysis.lens import read_residual
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.norms import scales, seen_through
from keyscope.worker.model.taps import read_coefficients


@dataclass(frozen=True)
class Position:
    """A position of a text after a forward pass: every key's coefficient there, and the prediction that follows.

    When several tokens are read together, each key has the coefficient of largest size among them. Only what it writes at
    the last of them goes into the prediction directly: the rest reaches it through attention alone.
    """

    coefficients: tuple[Tensor, ...]
    """Per layer [keys], float32 on the host."""
    places: tuple[Tensor, ...]
    """Per layer [keys], which of the tokens each coefficient is from, counted from 0."""
    last: tuple[Tensor, ...]
    """Per layer [keys], the coefficients at the last token read."""
    logprobs: Tensor
    """Log-probabilities of the token after the last one read, [rows of the head], float32 on the host."""
    scale: float
    """sigma of the final norm at that token."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one key wrote at a position."""

    key: KeyId
    place: int
    """Which of the tokens read, counted from 0."""
    coefficient: float
    size: float
    """|coefficient| times the value's length: how much the key wrote, in any direction."""
    contribution: float | None
    """Logits added to the target at the last token read, less those added to the distractor if there is one; None where it
    is undefined."""


@torch.inference_mode()
def read_position(
    model: CodeModel, token_ids: list[int], position: int, first: int | None = None, layer: int | None = None
) -> Position:
    """Run a text's tokens up to and including `position`, and read that position.

    Args:
        model: the model.
        token_ids: the text's tokens.
        position: index of the last token to read.
        first: index of the first one, to read several together.
        layer: read as if the model ended after this layer; later layers then have no coefficients.
    """
    first = position if first is None else first
    last = len(model.layers) - 1 if layer is None else layer
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    residuals: list[Tensor] = []

    def keep(layer: int, coefficients: Tensor) -> None:
        if layer <= last:
            there = model.after(coefficients, first).float()
            places = there.abs().argmax(dim=0)
            found[layer] = there.gather(0, places[None])[0].cpu(), places.cpu(), there[-1].cpu()

    with (
        read_coefficients(model, keep),
        read_residual(model, last, lambda after: residuals.append(model.after(after, first)[-1:].clone())),
    ):
        model.run_after(token_ids, first, position)
    (residual,) = residuals
    logits = model.head(model.final_norm(residual))[0].float()
    coefficients, places, at_last = zip(*(found[number] for number in range(last + 1)), strict=True)
    return Position(
        coefficients=coefficients,
        places=places,
        last=at_last,
        logprobs=logits.log_softmax(dim=0).cpu(),
        scale=float(scales(model.final_norm, residual.float())),
    )


def direction(model: CodeModel, token_id: int) -> Tensor:
    """d_w: the direction in the residual that raises a token's logit, [width] in float32.

    Centring belongs to d_w, not to the values: v · center(g) = center(v) · g, and this way it is done once.
    """
    return seen_through(model.final_norm, model.unembedding[token_id].float())


def layer_contributions(model: CodeModel, position: Position, towards: Tensor) -> list[Tensor]:
    """Each key's contribution along a direction at the last token read, per layer [keys] on the host.

    In float32 whatever the model's type: sums over tens of thousands of keys lose too much in half precision. A
    position read after an earlier layer has fewer layers than the model, so the layers are zipped without `strict`.
    """
    return [
        coefficients * (layer.writes.float() @ towards).cpu() / position.scale
        for layer, coefficients in zip(model.layers, position.last, strict=False)
    ]


@torch.inference_mode()
def strongest(
    model: CodeModel,
    position: Position,
    target: int,
    distractor: int | None,
    limit: int,
    by_size: bool = False,
    by_layer: bool = False,
) -> list[Contribution]:
    """The keys that contributed most to a token at a position, greatest first.

    Some architectures define no contributions: there keys can only be ranked by size.

    Args:
        model: the model.
        position: the position as read.
        target: token whose logit is split.
        distractor: token whose logit is subtracted, to ask why the model chose one and not the other.
        limit: number of keys.
        by_size: rank by how much keys wrote in any direction instead.
        by_layer: list this many of each layer, layer by layer.

    Raises:
        UndefinedHere: the architecture does not define what was asked for.
    """
    if not by_size or distractor is not None:
        model.require("contributions")
    towards = direction(model, target)
    if distractor is not None:
        towards = towards - direction(model, distractor)
    given = layer_contributions(model, position, towards)
    sizes = [
        coefficients.abs() * layer.values.float().norm(dim=1).cpu()
        for layer, coefficients in zip(model.layers, position.coefficients, strict=False)
    ]
    ordered = sizes if by_size else given
    defined = "contributions" not in model.facts.undefined

    def contribution(layer: int, index: int) -> Contribution:
        return Contribution(
            key=model.facts.key(layer, index),
            place=int(position.places[layer][index]),
            coefficient=float(position.coefficients[layer][index]),
            size=float(sizes[layer][index]),
            contribution=float(given[layer][index]) if defined else None,
        )

    if by_layer:
        best = [each.topk(min(limit, len(each))).indices.tolist() for each in ordered]
        return [contribution(layer, index) for layer, indices in enumerate(best) for index in indices]
    first = torch.from_numpy(model.first_keys)
    numbers = torch.cat(ordered)
    chosen = numbers.topk(min(limit, len(numbers))).indices
    layers = torch.searchsorted(first, chosen, right=True) - 1
    return [contribution(int(layer), int(number - first[layer])) for number, layer in zip(chosen, layers, strict=True)]
