"""What a norm does to a vector when its scale, which depends on the text, is held fixed."""

import torch
from torch import Tensor, nn


def gain(norm: nn.Module, width: int) -> Tensor:
    """What a norm multiplies each dimension by, [width] in at least float32.

    A LayerNorm states it. RMSNorms differ in what their weight means (Gemma's add 1), so theirs is measured: the norm
    of a vector of ones is the gain divided by √(1 + epsilon).
    """
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):  # none is needed, as in a model without a final norm
        return torch.ones(width)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    if isinstance(norm, nn.LayerNorm):
        return weight.detach().to(dtype)
    ones = torch.ones(1, width, dtype=dtype, device=weight.device)
    with torch.no_grad():
        measured: Tensor = norm(ones)[0].to(dtype)
    return measured * scales(norm, ones)


def passed(norm: nn.Module, vectors: Tensor) -> Tensor:
    """What becomes of summands of a norm's input, [..., width], at a fixed scale of 1: gain ⊙ center(v).

    Centring subtracts the mean for a LayerNorm and does nothing for an RMSNorm. The bias belongs to no summand.
    """
    return _centred(norm, vectors) * gain(norm, vectors.shape[-1]).to(vectors)


def seen_through(norm: nn.Module, readers: Tensor) -> Tensor:
    """The directions of a norm's input that readers of its output read, [..., width]: center(gain ⊙ r).

    The other side of the same product: r · (gain ⊙ center(v)) = center(gain ⊙ r) · v.
    """
    return _centred(norm, readers * gain(norm, readers.shape[-1]).to(readers))


def scales(norm: nn.Module, vectors: Tensor) -> Tensor:
    """What a norm divides each vector by, [n, width] → [n]."""
    if isinstance(norm, nn.Identity):
        return torch.ones(len(vectors), device=vectors.device)
    epsilon = float(getattr(norm, "eps", None) or norm.variance_epsilon)  # type: ignore[arg-type]
    return (_centred(norm, vectors).square().mean(dim=1) + epsilon).sqrt()


def _centred(norm: nn.Module, vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(dim=-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else vectors
