"""The twin of a model: the matrices of its blocks shuffled, so that nothing is left of what they have learned.

What a twin shows is what an untrained network of this size shows on this corpus through these embeddings: chance.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from operator import attrgetter

import torch
from torch import nn

from keyscope.contract.manifest import shuffled_sha256
from keyscope.worker.model.code_model import CodeModel


def twin_of(model: CodeModel, seed: int, in_place: bool = False) -> CodeModel:
    """Shuffle every matrix of the blocks; embeddings, norms, biases and head stay.

    Each matrix keeps its numbers, and so their mean, their spread and its Frobenius norm.

    Args:
        model: the trained model.
        seed: seed of the shuffling.
        in_place: shuffle the model itself, which saves the memory of a copy.
    """
    twin = model if in_place else deepcopy(model)
    shuffle(_blocks(twin), seed)
    sha256 = shuffled_sha256(model.facts.weights_sha256, seed)
    return replace(twin, facts=model.facts.model_copy(update={"shuffled": seed, "weights_sha256": sha256}))


@contextmanager
def as_twin(model: CodeModel, seed: int) -> Iterator[CodeModel]:
    """A model as its own twin, and itself again afterwards, to the last bit."""
    twin = twin_of(model, seed, in_place=True)
    try:
        yield twin
    finally:
        shuffle(_blocks(model), seed, back=True)


def _blocks(model: CodeModel) -> nn.Module:
    found: nn.Module = attrgetter(model.family.layers)(model.model)
    return found


@torch.no_grad()
def shuffle(blocks: nn.Module, seed: int, back: bool = False) -> None:
    """Shuffle the entries of every matrix in some modules, or put shuffled ones back in their places."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in blocks.parameters():
        if parameter.ndim > 1:
            # drawn on the CPU: a generator of another device draws other numbers
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            entries = parameter.flatten()
            moved = torch.empty_like(entries).scatter_(0, order, entries) if back else entries[order]
            parameter.copy_(moved.view_as(parameter))
