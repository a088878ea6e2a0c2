"""Where each architecture keeps its feed-forward layers: one table with one entry per family.

The coefficient of a key is the input of the down projection; masking it equals zeroing the key's row and bias, or the
value's column. To add an architecture, add its `model_type` here and a tiny configuration to the tests: loading checks
the entry by experiment (`keyscope.worker.model.check`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keyscope.contract.keys import Stack
from keyscope.contract.manifest import Question
from keyscope.worker.model.errors import NoPlainFeedForward, UnknownArchitecture


@dataclass(frozen=True, slots=True)
class Family:
    """Where one model keeps what, and how its blocks and its head compute.

    `layers`, `final_norm` and `projection` are paths in the model, the other paths are in a block.
    """

    layers: str
    norm: str | None
    """Its output is what the keys read; None: they read the residual itself."""
    up: str
    down: str
    final_norm: str | None
    activation: str
    gate: str | None = None
    """The same path as `up` if one projection computes both: its first half is the gate."""
    post_norm: str | None = None
    """A norm between the down projection and the residual."""
    multiplier: float = 1.0
    """What the feed-forward layer's output is multiplied by before it is added to the residual."""
    projection: str | None = None
    """A projection between the final norm and the head."""
    divisor: float = 1.0
    """What the head's output is divided by."""
    softcap: float | None = None
    """Logits z become softcap · tanh(z / softcap)."""
    parallel: bool = False
    """Attention and feed-forward read the same input."""
    flattened: bool = False
    """The feed-forward layer gets [rows · tokens, width] instead of [rows, tokens, width]."""
    renormed: bool = False
    """Blocks replace the residual by its norm instead of only adding to it."""
    stack: Stack = "L"
    encoder: "Family | None" = None
    """The encoder, if these are the layers of a decoder beside one."""

    @property
    def undefined(self) -> dict[Question, str]:
        """The questions that have no answer in this architecture, and why."""
        if self.stack != "L":
            return _OF_ENCODERS if self.stack == "E" else _OF_DECODERS
        if self.renormed:
            reason = "its blocks normalise the residual itself, which is therefore no sum of what the layers wrote"
            return {"contributions": reason, "neighbours": reason, "agreement": reason}
        if self.post_norm is not None:
            return {
                "contributions": "a norm stands between its feed-forward layers and the residual, so what one key adds "
                "depends on the other keys of its layer"
            }
        return {}


_TO_THE_DECODER = "what an encoder key writes reaches a logit only through the decoder's cross-attention"
_OF_ENCODERS: dict[Question, str] = {
    "contributions": f"{_TO_THE_DECODER}, so it adds to none directly; mask it to see what it does",
    "agreement": f"{_TO_THE_DECODER}, so no layer of the encoder predicts a token",
    "next token": "an encoder reads the tokens on both sides, so none is left to predict",
    "shortening": "an encoder reads the tokens on both sides, so a text without its last token is another text",
    "edit": "edits measure the prediction of the next token, and an encoder reads the tokens on both sides",
}
_AT_ONCE = "the decoder reads only the tokens that its task gave it, the encoder the rest of the window"
_OF_DECODERS: dict[Question, str] = {
    "agreement": f"the analysis compares predictions with and without the text before them, and {_AT_ONCE}",
    "shortening": f"shortening the text would change what both stacks are given, for {_AT_ONCE}",
    "edit": f"edits measure every token of a window from those before it, and {_AT_ONCE}",
}


def _gpt_2(config: Any) -> Family:
    return Family(
        layers="transformer.h",
        norm="ln_2",
        up="mlp.c_fc",
        down="mlp.c_proj",
        final_norm="transformer.ln_f",
        activation=config.activation_function,
    )


def _gpt_j(config: Any) -> Family:
    return replace(_gpt_2(config), norm="ln_1", up="mlp.fc_in", down="mlp.fc_out", parallel=True)


def _gpt_neox(config: Any) -> Family:
    return Family(
        layers="gpt_neox.layers",
        norm="post_attention_layernorm",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
        activation=config.hidden_act,
        parallel=bool(config.use_parallel_residual),
    )


def _bloom(config: Any) -> Family:
    return Family(
        layers="transformer.h",
        norm="post_attention_layernorm",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        final_norm="transformer.ln_f",
        activation="gelu_new",
        renormed=bool(config.apply_residual_connection_post_layernorm),
    )


def _falcon(config: Any) -> Family:
    parallel = bool(config.parallel_attn or config.new_decoder_architecture)
    # configurations of the new decoder that do not say have two norms
    two_norms = (config.num_ln_in_parallel_attn or 2) == 2 and config.new_decoder_architecture
    return Family(
        layers="transformer.h",
        norm="ln_mlp" if two_norms else "input_layernorm" if parallel else "post_attention_layernorm",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        final_norm="transformer.ln_f",
        activation=config.activation,
        parallel=parallel,
    )


def _mpt(_config: Any) -> Family:
    return Family(
        layers="transformer.blocks",
        norm="norm_2",
        up="ffn.up_proj",
        down="ffn.down_proj",
        final_norm="transformer.norm_f",
        activation="gelu",
    )


def _opt(config: Any) -> Family:
    before = bool(config.do_layer_norm_before)
    return Family(
        layers="model.decoder.layers",
        norm="final_layer_norm" if before else "self_attn_layer_norm",
        up="fc1",
        down="fc2",
        final_norm="model.decoder.final_layer_norm" if before and not config._remove_final_layer_norm else None,
        activation=config.activation_function,
        projection="model.decoder.project_out" if config.word_embed_proj_dim != config.hidden_size else None,
        flattened=True,
        renormed=not before,
    )


def _starcoder2(config: Any) -> Family:
    return Family(
        layers="model.layers",
        norm="post_attention_layernorm",
        up="mlp.c_fc",
        down="mlp.c_proj",
        final_norm="model.norm",
        activation=config.hidden_act,
    )


def _phi(config: Any) -> Family:
    return Family(
        layers="model.layers",
        norm="input_layernorm",
        up="mlp.fc1",
        down="mlp.fc2",
        final_norm="model.final_layernorm",
        activation=config.hidden_act,
        parallel=True,
    )


def _llama(config: Any) -> Family:
    return Family(
        layers="model.layers",
        norm="post_attention_layernorm",
        up="mlp.up_proj",
        gate="mlp.gate_proj",
        down="mlp.down_proj",
        final_norm="model.norm",
        activation=config.hidden_act,
    )


def _phi3(config: Any) -> Family:
    return replace(_llama(config), up="mlp.gate_up_proj", gate="mlp.gate_up_proj")


def _stablelm(config: Any) -> Family:
    if config.use_parallel_residual:
        return replace(_llama(config), norm="input_layernorm", parallel=True)
    return _llama(config)


def _deepseek(config: Any) -> Family:
    if config.first_k_dense_replace < config.num_hidden_layers:
        raise NoPlainFeedForward(f"{config.model_type}: {_ROUTED}")
    return _llama(config)


def _granite(config: Any) -> Family:
    return replace(_llama(config), multiplier=config.residual_multiplier, divisor=config.logits_scaling)


def _granite_shared(config: Any) -> Family:
    """The keys are those of the shared expert, which every token passes; the routed experts beside it have none."""
    if not config.shared_intermediate_size:
        raise NoPlainFeedForward(f"{config.model_type}: {_ROUTED}")
    up = "shared_mlp.input_linear"
    return replace(_granite(config), up=up, gate=up, down="shared_mlp.output_linear")


def _olmo2(config: Any) -> Family:
    return replace(_llama(config), norm=None, post_norm="post_feedforward_layernorm")


def _gemma2(config: Any) -> Family:
    return Family(
        layers="model.layers",
        norm="pre_feedforward_layernorm",
        up="mlp.up_proj",
        gate="mlp.gate_proj",
        down="mlp.down_proj",
        post_norm="post_feedforward_layernorm",
        final_norm="model.norm",
        activation=config.hidden_activation,
        softcap=config.final_logit_softcapping,
    )


def _t5(config: Any) -> Family:
    def stack(path: str, at: int) -> Family:
        part = f"layer.{at}.DenseReluDense"
        return Family(
            layers=f"{path}.block",
            norm=f"layer.{at}.layer_norm",
            up=f"{part}.wi_1" if config.is_gated_act else f"{part}.wi",
            gate=f"{part}.wi_0" if config.is_gated_act else None,
            down=f"{part}.wo",
            final_norm=f"{path}.final_layer_norm",
            activation=config.dense_act_fn,
            divisor=config.d_model**0.5 if config.scale_decoder_outputs else 1.0,
        )

    # self-attention, in the decoder cross-attention, then the feed-forward layer
    return replace(stack("decoder", 2), stack="D", encoder=replace(stack("encoder", 1), stack="E"))


FAMILIES: dict[str, Callable[[Any], Family]] = {
    "bloom": _bloom,
    "codegen": _gpt_j,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "falcon": _falcon,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3_text": _gemma2,
    "gpt2": _gpt_2,
    "gpt_bigcode": _gpt_2,
    "gpt_neo": _gpt_2,
    "gpt_neox": _gpt_neox,
    "gptj": _gpt_j,
    "granite": _granite,
    "granitemoeshared": _granite_shared,
    "llama": _llama,
    "mistral": _llama,
    "mpt": _mpt,
    "olmo2": _olmo2,
    "opt": _opt,
    "phi": _phi,
    "phi3": _phi3,
    "qwen2": _llama,
    "qwen3": _llama,
    "stablelm": _stablelm,
    "starcoder2": _starcoder2,
}
"""The entry of each `model_type`, made from its configuration."""
ENCODER_DECODERS: dict[str, Callable[[Any], Family]] = {"t5": _t5}
"""The same for models with two stacks: the entry of the decoder, with that of the encoder in it."""

_ROUTED = (
    "its feed-forward layers are experts that a router chooses from for each token, so a key has a coefficient only at "
    "some tokens and no projection that could be read or masked; Keyscope reads dense models"
)
_STATES = (
    "it has no feed-forward layers: what its channels do depends on a state that runs along the text, so they have no "
    "key vectors; Keyscope reads transformers"
)
REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "dbrx",
            "ernie4_5_moe",
            "glm4_moe",
            "gpt_oss",
            "granitemoe",
            "mixtral",
            "olmoe",
            "phimoe",
            "qwen2_moe",
            "qwen3_moe",
        ),
        _ROUTED,
    ),
    **dict.fromkeys(("falcon_mamba", "mamba", "mamba2"), _STATES),
}
"""Known architectures that have no keys in the sense of this tool, and why."""


def check_known(model_type: str) -> None:
    """Check that an architecture has an entry.

    Raises:
        NoPlainFeedForward: its layers have no keys that could be read and masked.
        UnknownArchitecture: the table does not have it; the message lists what it has.
    """
    if model_type in REFUSED:
        raise NoPlainFeedForward(f"{model_type}: {REFUSED[model_type]}")
    known = FAMILIES | ENCODER_DECODERS
    if model_type not in known:
        raise UnknownArchitecture(
            f"Keyscope does not know the architecture {model_type!r}; it knows {', '.join(sorted(known))}"
        )


def family_of(config: Any) -> Family:
    """The entry of an architecture for a configuration.

    Raises:
        NoPlainFeedForward, UnknownArchitecture: as `check_known`.
    """
    check_known(config.model_type)
    return (FAMILIES | ENCODER_DECODERS)[config.model_type](config)
