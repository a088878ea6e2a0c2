"""The keys nearest to a key by the weights: similar values, and the keys that write what it reads or read what it writes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from keyscope.contract.keys import KeyId
from keyscope.contract.wire import Neighbour, NeighboursAnswer
from keyscope.worker.model.code_model import CodeModel, FeedForward


@dataclass(frozen=True, slots=True)
class NeighboursTask:
    """An admitted request."""

    key: KeyId
    limit: int


class NeighboursFinder:
    """Compares the keys of one model: one product of a matrix and a vector for each layer and sort."""

    def __init__(self, model: CodeModel) -> None:
        self._model = model

    @torch.inference_mode()
    def run(self, task: NeighboursTask, _emit: Callable[[NeighboursAnswer], None]) -> NeighboursAnswer:
        """Return the nearest keys of each sort."""
        layers, key = self._model.layers, task.key
        own = layers[key.layer]
        value, read = own.values[key.index].float(), _read(own, own.keys[key.index])
        return NeighboursAnswer(
            similar=_largest(((each.layer, _cosines(each, value)) for each in layers), task.limit, but=key),
            upstream=_largest(
                ((each.layer, each.values.float() @ read) for each in layers[: key.layer]), task.limit, by_size=True
            ),
            downstream=_largest(
                ((each.layer, _read(each, each.keys) @ value) for each in layers[key.layer + 1 :]),
                task.limit,
                by_size=True,
            ),
        )


def _read(layer: FeedForward, vectors: Tensor) -> Tensor:
    """What key vectors read of the residual, [.., width]: the gain of the layer's norm, and its centring if it centres.

    v · center(g k) = center(v) · g k, so this side can carry both. The norm's scale, which depends on the text, is left
    out.
    """
    gain = layer.norm.weight
    assert isinstance(gain, Tensor)
    read = vectors.float() * gain.detach().float()
    return read - read.mean(dim=-1, keepdim=True) if isinstance(layer.norm, nn.LayerNorm) else read


def _cosines(layer: FeedForward, value: Tensor) -> Tensor:
    values = layer.values.float()
    cosines: Tensor = (values @ value) / (values.norm(dim=1) * value.norm()).clamp_min(torch.finfo(torch.float32).tiny)
    return cosines


def _largest(
    amounts: Iterable[tuple[int, Tensor]], limit: int, by_size: bool = False, but: KeyId | None = None
) -> list[Neighbour]:
    """The keys with the largest amounts of several layers [keys], or with those of largest size."""
    found: list[tuple[float, KeyId]] = []
    for layer, of_layer in amounts:
        order = of_layer.abs() if by_size else of_layer
        best = order.topk(min(limit + 1, len(order))).indices
        chosen = zip(best.tolist(), of_layer[best].tolist(), strict=True)
        found += [(amount, KeyId(layer, index)) for index, amount in chosen if KeyId(layer, index) != but]
    found.sort(key=lambda each: -(abs(each[0]) if by_size else each[0]))
    return [Neighbour(key=str(key), amount=amount) for amount, key in found[:limit]]
