"""Which keys wrote how much towards the next token: an exact split of a logit over the keys of all layers.

With the final norm's scale sigma at a position held fixed, logits are linear in what was added to the residual:
logit_w = (1/sigma) · d_w · residual + constants, with d_w = center(gamma ⊙ E_w) for a LayerNorm and gamma ⊙ E_w for an
RMSNorm. The residual is embeddings plus attention plus, per layer, the sum of coefficient times value and a bias. So key
i contributes c_i · (v_i · d_w) / sigma to token w, which is c_i · L(v_i)_w / sigma (Geva et al. 2022, section 3.1, with
the norm taken into account).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contract.keys import KeyId
from worker.model.code_model import CodeModel
from worker.model.taps import read_coefficients


@dataclass(frozen=True)
class Position:
    """One position of a text after a forward: what every key did there, and what the model would say next."""

    coefficients: tuple[Tensor, ...]
    """Per layer [keys], float32 on the host."""
    logprobs: Tensor
    """Log-probabilities of the next token, [rows of the head], float32 on the host."""
    scale: float
    """sigma of the final norm."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one key did at a position."""

    key: KeyId
    coefficient: float
    size: float
    """|coefficient| times the value's length: how much the key wrote, in whatever direction."""
    contribution: float
    """Logits given to the target, less those given to the distractor where there is one."""


@torch.inference_mode()
def read_position(model: CodeModel, token_ids: list[int], position: int) -> Position:
    """Run a text's tokens up to and including `position`, and look at that position."""
    coefficients: dict[int, Tensor] = {}
    before_norm: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        before_norm.append(inputs[0][0, -1].float())

    ids = torch.tensor([token_ids[: position + 1]], device=model.device)
    hook = model.final_norm.register_forward_pre_hook(keep)
    try:
        with read_coefficients(model, lambda layer, c: coefficients.__setitem__(layer, c[0, -1].float().cpu())):
            logits = model.logits(ids)[0, -1].float()
    finally:
        hook.remove()
    return Position(
        coefficients=tuple(coefficients[layer.layer] for layer in model.layers),
        logprobs=logits.log_softmax(dim=0).cpu(),
        scale=_scale(model.final_norm, before_norm[0]),
    )


def direction(model: CodeModel, token_id: int) -> Tensor:
    """d_w: the direction in the residual that raises a token's logit, [width] float32."""
    gain = model.final_norm.weight
    assert isinstance(gain, Tensor)
    towards = model.unembedding[token_id].float() * gain.detach().float()
    return towards - towards.mean() if isinstance(model.final_norm, nn.LayerNorm) else towards


def layer_contributions(model: CodeModel, position: Position, towards: Tensor) -> list[Tensor]:
    """Each key's contribution along a direction, per layer [keys] on the host; their sum is what the layers' keys gave."""
    return [
        coefficients * (layer.values.float() @ towards).cpu() / position.scale
        for layer, coefficients in zip(model.layers, position.coefficients, strict=True)
    ]


@torch.inference_mode()
def strongest(
    model: CodeModel, position: Position, target: int, distractor: int | None, limit: int, by_size: bool = False
) -> list[Contribution]:
    """The keys that gave most to a token at a position, the greatest first.

    Args:
        model: the model.
        position: what was read.
        target: token whose logit is split.
        distractor: token whose logit is taken off, to ask why one and not the other.
        limit: how many keys.
        by_size: order by how much keys wrote in whatever direction instead.
    """
    towards = direction(model, target)
    if distractor is not None:
        towards = towards - direction(model, distractor)
    given = torch.cat(layer_contributions(model, position, towards))
    coefficients = torch.cat(position.coefficients)
    lengths = torch.cat([layer.values.float().norm(dim=1).cpu() for layer in model.layers])
    sizes = coefficients.abs() * lengths
    first = torch.from_numpy(model.first_keys)
    best = (sizes if by_size else given).topk(min(limit, len(given))).indices
    layers = torch.searchsorted(first, best, right=True) - 1
    return [
        Contribution(
            KeyId(int(layer), int(number - first[layer])),
            float(coefficients[number]),
            float(sizes[number]),
            float(given[number]),
        )
        for number, layer in zip(best, layers, strict=True)
    ]


def _scale(norm: nn.Module, residual: Tensor) -> float:
    """sigma: what the final norm divides a residual by."""
    epsilon = float(getattr(norm, "eps", None) or norm.variance_epsilon)  # type: ignore[arg-type]
    centred = residual - residual.mean() if isinstance(norm, nn.LayerNorm) else residual
    return float((centred.square().mean() + epsilon).sqrt())
