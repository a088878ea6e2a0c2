"""The logit lens: what the model would predict if it ended after a layer (nostalgebraist 2020)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from keyscope.worker.model.code_model import CodeModel, FeedForward
from keyscope.worker.model.taps import by_row, read_coefficients

_CHUNK_BYTES = 64 << 20
"""Memory for the logits of one chunk of positions: [positions, vocabulary] in full would not fit."""
Project = Callable[[Tensor], Tensor]
"""A function from vectors [n, width] to logits [n, vocabulary]."""


@dataclass(frozen=True, slots=True)
class LayerPass:
    """One layer in one forward pass. The tensors are the model's own: clone what must outlive the callback."""

    layer: int
    coefficients: Tensor
    """[rows, tokens, keys]"""
    written: Tensor
    """What the feed-forward layer adds to the residual, its bias included, [rows, tokens, width]: a copy."""
    after: Tensor
    """The residual after the whole block, [rows, tokens, width]."""


@contextmanager
def read_layers(model: CodeModel, consume: Callable[[LayerPass], None]) -> Iterator[None]:
    """Call `consume` for every layer of every forward pass, first layer first."""
    read: dict[int, Tensor] = {}
    written: dict[int, Tensor] = {}

    def keep(each: FeedForward, rows: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
        # a copy: Falcon adds what attention wrote to this very tensor
        return lambda _module, _inputs, output: written.__setitem__(each.layer, rows(output) * each.multiplier)

    def tell(layer: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        def tell_one(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            after = output[0] if isinstance(output, tuple) else output
            consume(LayerPass(layer, read.pop(layer), written.pop(layer), after))

        return tell_one

    with ExitStack() as hooks:
        rows = hooks.enter_context(by_row(model))
        hooks.enter_context(read_coefficients(model, read.__setitem__))
        for each in model.layers:
            hooks.callback(each.written_by.register_forward_hook(keep(each, rows)).remove)
            hooks.callback(each.block.register_forward_hook(tell(each.layer)).remove)
        yield


@contextmanager
def read_residual(model: CodeModel, layer: int, consume: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `consume` with the residual after a layer's block, [rows, tokens, width], in every forward pass."""

    def tell(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        consume(output[0] if isinstance(output, tuple) else output)

    hook = model.layers[layer].block.register_forward_hook(tell)
    try:
        yield
    finally:
        hook.remove()


def lens(model: CodeModel, residual: Tensor) -> Tensor:
    """Logits of a residual through final norm and head, biases included, [..., width] → [..., vocabulary].

    Only tokens the tokenizer knows, in float32. After the last layer these are the model's own logits, to the bit.
    """
    return normed_lens(model, model.final_norm(residual))


def normed_lens(model: CodeModel, normed: Tensor) -> Tensor:
    """The same for a residual that has already been through the final norm, as `run_body` returns it."""
    logits: Tensor = model.head(normed)
    return logits[..., : model.facts.vocabulary].float()


def in_chunks(model: CodeModel, vectors: Tensor) -> tuple[Tensor, ...]:
    """Split [n, width] into parts whose logits fit in bounded memory."""
    parts: tuple[Tensor, ...] = vectors.split(max(1, _CHUNK_BYTES // (4 * model.facts.vocabulary)))
    return parts


def top_tokens(model: CodeModel, vectors: Tensor, project: Project) -> Tensor:
    """The token with the highest logit for each vector, [n, width] → [n]; ties go to the lowest id."""
    return torch.cat([project(chunk).argmax(dim=-1) for chunk in in_chunks(model, vectors)])
