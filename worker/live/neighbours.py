"""The keys nearest to a key by the weights: similar values, and the keys that write what it reads or read what it writes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from keyscope.contract.keys import KeyId
from keyscope.contract.wire import Neighbour, NeighboursAnswer
from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.norms import seen_through


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
        """Return the nearest keys of each sort.

        Raises:
            UndefinedHere: nothing can be said of what later keys read of what earlier ones wrote.
        """
        self._model.require("neighbours")
        model, key = self._model.of(task.key.stack), task.key
        layers, largest = model.layers, partial(_largest, model.facts.key)
        own = layers[key.layer]
        written, read = own.writes[key.index].float(), _read(own, own.keys[key.index])
        return NeighboursAnswer(
            similar=largest(((each.layer, _cosines(each, written)) for each in layers), task.limit, but=key),
            upstream=largest(
                ((each.layer, each.writes.float() @ read) for each in layers[: key.layer]), task.limit, by_size=True
            ),
            downstream=largest(
                ((each.layer, _read(each, each.keys) @ written) for each in layers[key.layer + 1 :]),
                task.limit,
                by_size=True,
            ),
        )


def _read(layer: FeedForward, vectors: Tensor) -> Tensor:
    """What key vectors read of the residual, [.., width]: the gain of the layer's norm, and its centring if it centres.

    The norm's scale, which depends on the text, is left out.
    """
    vectors = vectors.float()
    return vectors if layer.norm is None else seen_through(layer.norm, vectors)


def _cosines(layer: FeedForward, value: Tensor) -> Tensor:
    values = layer.writes.float()
    cosines: Tensor = (values @ value) / (values.norm(dim=1) * value.norm()).clamp_min(torch.finfo(torch.float32).tiny)
    return cosines


def _largest(
    name: Callable[[int, int], KeyId],
    amounts: Iterable[tuple[int, Tensor]],
    limit: int,
    by_size: bool = False,
    but: KeyId | None = None,
) -> list[Neighbour]:
    """The keys with the largest amounts of several layers [keys], or with those of largest size."""
    found: list[tuple[float, KeyId]] = []
    for layer, of_layer in amounts:
        order = of_layer.abs() if by_size else of_layer
        best = order.topk(min(limit + 1, len(order))).indices
        chosen = zip(best.tolist(), of_layer[best].tolist(), strict=True)
        found += [(amount, name(layer, index)) for index, amount in chosen if name(layer, index) != but]
    found.sort(key=lambda each: -(abs(each[0]) if by_size else each[0]))
    return [Neighbour(key=str(key), amount=amount) for amount, key in found[:limit]]
