"""Tiny models with seeded random weights and a real byte-level tokenizer, saved for `load_model` to find."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CodeGenConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    GraniteMoeSharedConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

LAYERS = 3
WIDTH = 32
KEYS = 48
HEADS = 4
CONTEXT = 128
EOS = "<|endoftext|>"
PADDED_VOCABULARY = 512
"""Rows of the head: more than the tokenizer has tokens, as in real models."""

CODE = [
    "def add(left, right):\n    return left + right\n\n\nfor i in range(10):\n    print(add(i, i))\n",
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n",
    "import numpy as np\n\nif np.zeros(3).sum() == 0:\n    raise ValueError('naïve — 数字 🙂')\n",
]

_GPT2_SIZES: dict[str, Any] = {
    "n_layer": LAYERS,
    "n_embd": WIDTH,
    "n_inner": KEYS,
    "n_head": HEADS,
    "n_positions": CONTEXT,
}
_LLAMA_SIZES: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": KEYS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
}
_GROUPED: dict[str, Any] = _LLAMA_SIZES | {"num_key_value_heads": 1}
_GEMMA: dict[str, Any] = {"head_dim": 12, "sliding_window": 16, "query_pre_attn_scalar": 9}
_GRANITE: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.5,
    "logits_scaling": 3.0,
}
_DEEPSEEK: dict[str, Any] = {
    "first_k_dense_replace": LAYERS,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
}
_OPT: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "ffn_dim": KEYS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "word_embed_proj_dim": WIDTH,
}
_FALCON: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "ffn_hidden_size": KEYS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
}

TINY: dict[str, Callable[..., PreTrainedConfig]] = {
    "codegen": lambda **more: CodeGenConfig(**_GPT2_SIZES | {"rotary_dim": 4} | more),
    "gptj": lambda **more: GPTJConfig(**_GPT2_SIZES | {"rotary_dim": 4} | more),
    "gpt2": lambda **more: GPT2Config(**_GPT2_SIZES | more),
    "gpt_bigcode": lambda **more: GPTBigCodeConfig(**_GPT2_SIZES | more),
    "gpt_neox": lambda **more: GPTNeoXConfig(**_LLAMA_SIZES | {"use_parallel_residual": True} | more),
    "gpt_neox-sequential": lambda **more: GPTNeoXConfig(**_LLAMA_SIZES | {"use_parallel_residual": False} | more),
    "llama": lambda **more: LlamaConfig(**_GROUPED | more),
    "mistral": lambda **more: MistralConfig(**_GROUPED | {"sliding_window": 16} | more),
    "qwen2": lambda **more: Qwen2Config(**_GROUPED | more),
    "qwen3": lambda **more: Qwen3Config(**_GROUPED | {"head_dim": WIDTH // HEADS} | more),
    "starcoder2": lambda **more: Starcoder2Config(**_GROUPED | more),
    "phi": lambda **more: PhiConfig(**_LLAMA_SIZES | more),
    "phi3": lambda **more: Phi3Config(**_GROUPED | more),
    "stablelm": lambda **more: StableLmConfig(**_GROUPED | {"use_qkv_bias": True, "qk_layernorm": True} | more),
    "stablelm-parallel": lambda **more: StableLmConfig(
        **_LLAMA_SIZES | {"num_key_value_heads": HEADS, "use_parallel_residual": True} | more
    ),
    "gpt_neo": lambda **more: GPTNeoConfig(
        **{
            "num_layers": LAYERS,
            "hidden_size": WIDTH,
            "intermediate_size": KEYS,
            "num_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "attention_types": [[["global", "local", "local"], 1]],
            "window_size": 8,
        }
        | more
    ),
    "gemma": lambda **more: GemmaConfig(**_GROUPED | {"head_dim": 12} | more),
    "gemma2": lambda **more: Gemma2Config(**_GROUPED | _GEMMA | {"final_logit_softcapping": 5.0} | more),
    "gemma3_text": lambda **more: Gemma3TextConfig(**_GROUPED | _GEMMA | more),
    "olmo2": lambda **more: Olmo2Config(**_GROUPED | more),
    "granite": lambda **more: GraniteConfig(**_GROUPED | _GRANITE | more),
    "granitemoeshared": lambda **more: GraniteMoeSharedConfig(
        **_GROUPED
        | _GRANITE
        | {"shared_intermediate_size": KEYS, "num_local_experts": 3, "intermediate_size": 16}
        | more
    ),
    "deepseek_v2": lambda **more: DeepseekV2Config(**_LLAMA_SIZES | _DEEPSEEK | {"q_lora_rank": None} | more),
    "deepseek_v3": lambda **more: DeepseekV3Config(**_LLAMA_SIZES | _DEEPSEEK | {"q_lora_rank": 12} | more),
    "opt": lambda **more: OPTConfig(**_OPT | more),
    "opt-post": lambda **more: OPTConfig(**_OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 20} | more),
    "falcon": lambda **more: FalconConfig(**_FALCON | more),
    "falcon-new": lambda **more: FalconConfig(**_FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2} | more),
    "falcon-sequential": lambda **more: FalconConfig(
        **_FALCON | {"parallel_attn": False, "alibi": True, "multi_query": False, "bias": True} | more
    ),
    "bloom": lambda **more: BloomConfig(**{"n_layer": LAYERS, "hidden_size": WIDTH, "n_head": HEADS} | more),
    "bloom-renormed": lambda **more: BloomConfig(
        **{"n_layer": LAYERS, "hidden_size": WIDTH, "n_head": HEADS, "apply_residual_connection_post_layernorm": True}
        | more
    ),
    "mpt": lambda **more: MptConfig(
        **{"n_layers": LAYERS, "d_model": WIDTH, "n_heads": HEADS, "max_seq_len": CONTEXT} | more
    ),
}
"""Tiny configurations of every family: several where a switch moves a norm or changes how blocks add to the residual."""


def tiny_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on a few lines of code; with `bos` it prepends its end-of-text token to every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CODE,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=[EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{EOS} $A", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=EOS, eos_token=EOS)


def tiny_model(kind: str, seed: int = 0, **more: Any) -> nn.Module:
    """A model of that configuration, with weights large enough for sharp, varied predictions.

    Biases and norms are random too: with their usual zeros and ones, code that forgets them would pass.
    """
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = TINY[kind](**{"vocab_size": PADDED_VOCABULARY} | special | more)
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            middle = 1.0 if parameter.dim() == 1 and not name.endswith("bias") else 0.0
            spread = 0.3 if parameter.dim() > 1 else 0.1
            parameter.copy_(middle + spread * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def save_tiny(folder: Path, kind: str, seed: int = 0, bos: bool = False, **more: Any) -> Path:
    """Save a tiny model with its tokenizer and return the folder."""
    return save(folder, tiny_model(kind, seed, **more), bos)


def save(folder: Path, model: nn.Module, bos: bool = False) -> Path:
    """Save a model with the tiny tokenizer and return the folder."""
    model.save_pretrained(folder)
    tiny_tokenizer(bos).save_pretrained(folder)
    return folder


def relu_model(silent_layer: int, silent_index: int) -> nn.Module:
    """A GPT-2 with ReLU in which one key never fires: its bias is below anything its weights can reach."""
    model = tiny_model("gpt2", activation_function="relu")
    with torch.no_grad():
        model.transformer.h[silent_layer].mlp.c_fc.bias[silent_index] = -1e4
    return model
