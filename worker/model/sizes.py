"""Checking the numbers of a model's configuration before anything is built from them: building 10⁷ layers never ends."""

from collections.abc import Mapping
from math import prod
from typing import Any

from keyscope.worker.model.errors import ModelUnreadable

_LAYERS = ("n_layer", "n_layers", "num_layers", "num_decoder_layers", "num_hidden_layers")
_WIDTHS = ("n_embd", "d_model", "hidden_size")
_KEYS = ("n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "intermediate_size")
_HEADS = (
    "n_head",
    "n_heads",
    "num_heads",
    "num_attention_heads",
    "num_key_value_heads",
    "num_kv_heads",
    "head_dim",
    "d_kv",
)
_POSITIONS = ("n_positions", "max_position_embeddings", "max_seq_len", "seq_length")
_OTHERS = (*_HEADS, *_POSITIONS, "word_embed_proj_dim")
_VOCABULARY = ("vocab_size",)
MOST_LAYERS = 10_000
MOST = 100_000_000
"""Largest width, number of keys, heads, positions or tokens."""
PARAMETERS_PER_BYTE = 8
"""Most parameters stored in a byte, at one bit each."""


def check_sizes(name: str, config: Mapping[str, Any], n_bytes: int) -> None:
    """Check a configuration, as it is written, against the size of the weights.

    Raises:
        ModelUnreadable: a number has the wrong type or is out of range, or so many weights do not fit into the files.
    """
    for names, most in ((_LAYERS, MOST_LAYERS), (_WIDTHS + _KEYS + _OTHERS + _VOCABULARY, MOST)):
        for field in names:
            value = config.get(field)
            if value is not None and not (type(value) is int and 1 <= value <= most):
                raise ModelUnreadable(
                    f"{name} cannot be loaded: its configuration has {field} {value!r}, "
                    f"which must be a whole number from 1 to {most:,}"
                )
    layers, width, keys, vocabulary = (_first(config, names) for names in (_LAYERS, _WIDTHS, _KEYS, _VOCABULARY))
    least = max(prod((layers, width, keys)), prod((vocabulary, width)))
    if least > n_bytes * PARAMETERS_PER_BYTE:
        raise ModelUnreadable(
            f"{name} cannot be loaded: its configuration describes over {least:,} weights, but its files have {n_bytes:,} bytes"
        )


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((config[name] for name in names if config.get(name) is not None), 1)
