"""The table of `docs/own-model.md`: what published models need, from their configurations alone.

Run as a program, it prints the table. Models are built without weights, so nothing is downloaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    CodeGenConfig,
    GPTNeoXConfig,
    PreTrainedConfig,
    Qwen2Config,
    Starcoder2Config,
)

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.families import family_of
from keyscope.worker.precompute.estimate import amounts, size
from tests.worker.plain import downs_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "own-model.md"
LANGUAGES = 3


@dataclass(frozen=True)
class Published:
    """A published model; the configuration has the numbers of its config.json."""

    hub: str
    config: PreTrainedConfig


def published() -> list[Published]:
    """The models of the table."""
    codegen = {"vocab_size": 51_200, "n_positions": 2_048, "tie_word_embeddings": False}
    neox = {"vocab_size": 50_304, "use_parallel_residual": False}
    qwen = {"vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return [
        Published(
            "Salesforce/codegen-350M-mono",
            CodeGenConfig(n_layer=20, n_embd=1_024, n_head=16, rotary_dim=32, **codegen),
        ),
        Published(
            "Salesforce/codegen-2B-mono",
            CodeGenConfig(n_layer=32, n_embd=2_560, n_head=32, rotary_dim=64, **codegen),
        ),
        Published(
            "NinedayWang/PolyCoder-160M",
            GPTNeoXConfig(
                num_hidden_layers=12, hidden_size=768, intermediate_size=3_072, num_attention_heads=12, **neox
            ),
        ),
        Published(
            "NinedayWang/PolyCoder-2.7B",
            GPTNeoXConfig(
                num_hidden_layers=32, hidden_size=2_560, intermediate_size=10_240, num_attention_heads=32, **neox
            ),
        ),
        Published(
            "bigcode/starcoder2-3b",
            Starcoder2Config(
                num_hidden_layers=30,
                hidden_size=3_072,
                intermediate_size=12_288,
                num_attention_heads=24,
                num_key_value_heads=2,
                vocab_size=49_152,
            ),
        ),
        Published(
            "Qwen/Qwen2.5-Coder-0.5B",
            Qwen2Config(num_hidden_layers=24, hidden_size=896, intermediate_size=4_864, num_attention_heads=14, **qwen),
        ),
        Published(
            "Qwen/Qwen2.5-Coder-1.5B",
            Qwen2Config(
                num_hidden_layers=28, hidden_size=1_536, intermediate_size=8_960, num_attention_heads=12, **qwen
            ),
        ),
    ]


def table() -> Iterator[str]:
    """The table's lines."""
    yield "| model | keys | weights in float32, bfloat16 | memory besides them | disk while it runs | work per token |"
    yield "|---|---|---|---|---|---|"
    for each in published():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(each.config)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        keys = [down.in_features for down in downs_of(model)]
        needed = amounts(keys, family_of(each.config).gate is not None, RunSettings(), LANGUAGES)
        embeddings = 0 if each.config.tie_word_embeddings else model.get_input_embeddings().weight.numel()
        yield (
            f"| `{each.hub}` | {len(keys)} × {keys[0]:,} | {size(4 * parameters)}, {size(2 * parameters)} "
            f"| {size(needed.memory)} | {size(needed.disk)} | {2 * (parameters - embeddings) / 1e9:.1f} GFLOP |"
        )


if __name__ == "__main__":
    print("\n".join(table()))
