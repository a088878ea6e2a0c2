"""Where each architecture keeps its feed-forward layers: one table with one entry per family.

The coefficient of a key is the input of the down projection; masking it equals zeroing the key's row and bias, or the
value's column. To add an architecture, add its `model_type` here and a tiny configuration to the tests: loading checks
the entry by experiment (`keyscope.worker.model.check`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyscope.worker.model.errors import UnknownArchitecture


@dataclass(frozen=True, slots=True)
class Family:
    """Module paths of one architecture: `layers` and `final_norm` relative to the model, the others to a block."""

    layers: str
    up: str
    down: str
    norm: str
    final_norm: str
    activation: str
    gate: str | None = None
    parallel: Callable[[Any], bool] = lambda config: False


_GPT_J = Family(
    layers="transformer.h",
    up="mlp.fc_in",
    down="mlp.fc_out",
    norm="ln_1",
    final_norm="transformer.ln_f",
    activation="activation_function",
    parallel=lambda config: True,
)
_GPT_2 = Family(
    layers="transformer.h",
    up="mlp.c_fc",
    down="mlp.c_proj",
    norm="ln_2",
    final_norm="transformer.ln_f",
    activation="activation_function",
)
_LLAMA = Family(
    layers="model.layers",
    up="mlp.up_proj",
    gate="mlp.gate_proj",
    down="mlp.down_proj",
    norm="post_attention_layernorm",
    final_norm="model.norm",
    activation="hidden_act",
)

FAMILIES: dict[str, Family] = {
    "codegen": _GPT_J,
    "gptj": _GPT_J,
    "gpt2": _GPT_2,
    "gpt_bigcode": _GPT_2,
    "gpt_neox": Family(
        layers="gpt_neox.layers",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        norm="post_attention_layernorm",
        final_norm="gpt_neox.final_layer_norm",
        activation="hidden_act",
        parallel=lambda config: bool(config.use_parallel_residual),
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "starcoder2": Family(
        layers="model.layers",
        up="mlp.c_fc",
        down="mlp.c_proj",
        norm="post_attention_layernorm",
        final_norm="model.norm",
        activation="hidden_act",
    ),
    "phi": Family(
        layers="model.layers",
        up="mlp.fc1",
        down="mlp.fc2",
        norm="input_layernorm",
        final_norm="model.final_layernorm",
        activation="hidden_act",
        parallel=lambda config: True,
    ),
}


def family_of(model_type: str) -> Family:
    """Find the entry of an architecture.

    Raises:
        UnknownArchitecture: the table has none; the message lists what it has.
    """
    try:
        return FAMILIES[model_type]
    except KeyError:
        raise UnknownArchitecture(
            f"Keyscope does not know the architecture {model_type!r}; it knows {', '.join(sorted(FAMILIES))}"
        ) from None
