"""Where plain transformers keep their down projections: written out for every family, independently of Keyscope's table."""

from collections.abc import Callable
from typing import Any

from torch import nn

_HUGGING: Callable[[Any], Any] = lambda block: block.mlp.down_proj  # noqa: E731 - a table of short functions

_BLOCKS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("codegen", "gptj", "gpt2", "gpt_bigcode", "gpt_neo", "bloom", "falcon"), lambda m: m.transformer.h
    ),
    "mpt": lambda m: m.transformer.blocks,
    "gpt_neox": lambda m: m.gpt_neox.layers,
    "opt": lambda m: m.model.decoder.layers,
}
_DOWNS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("codegen", "gptj"), lambda block: block.mlp.fc_out),
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo", "starcoder2"), lambda block: block.mlp.c_proj),
    **dict.fromkeys(("gpt_neox", "bloom", "falcon"), lambda block: block.mlp.dense_4h_to_h),
    "phi": lambda block: block.mlp.fc2,
    "opt": lambda block: block.fc2,
    "mpt": lambda block: block.ffn.down_proj,
    "granitemoeshared": lambda block: block.shared_mlp.output_linear,
}


def blocks_of(plain: Any) -> nn.ModuleList:
    """The blocks of a plain model."""
    blocks: nn.ModuleList = _BLOCKS.get(plain.config.model_type, lambda m: m.model.layers)(plain)
    return blocks


def downs_of(plain: Any) -> list[Any]:
    """The down projections of a plain model, from layer 0."""
    return [_DOWNS.get(plain.config.model_type, _HUGGING)(block) for block in blocks_of(plain)]
