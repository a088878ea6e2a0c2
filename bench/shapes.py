"""Models of a published shape with random weights: what a size costs can be measured without a download.

The tokenizer is that of the demo model, filled up with tokens that no text has to the size of the vocabulary.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import CodeGenConfig, CodeGenForCausalLM

NANO = Path(__file__).parents[1] / "models" / "codegen-nano"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    layers: int
    width: int
    heads: int
    rotary: int
    vocabulary: int


SHAPES = {
    "codegen-350m": Shape(layers=20, width=1024, heads=16, rotary=32, vocabulary=51_200),
    "codegen-2b": Shape(layers=32, width=2560, heads=32, rotary=64, vocabulary=51_200),
}
"""CodeGen-mono (Nijkamp et al. 2023); each layer has four keys per dimension of the residual."""


def save_random(folder: Path, name: str, layers: int | None = None, dtype: torch.dtype = torch.bfloat16) -> None:
    """Save a random model of a shape as sharded safetensors.

    Args:
        folder: where to.
        name: one of `SHAPES`.
        layers: fewer layers than the shape has.
        dtype: of the weights.
    """
    shape = SHAPES[name]
    config = CodeGenConfig(
        n_embd=shape.width,
        n_layer=layers or shape.layers,
        n_head=shape.heads,
        rotary_dim=shape.rotary,
        vocab_size=shape.vocabulary,
        n_positions=2048,
        n_ctx=2048,
        bos_token_id=0,
        eos_token_id=0,
        dtype=dtype,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = CodeGenForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="1GB")
    for each in TOKENIZER:
        (folder / each).write_text((NANO / each).read_text("utf-8"), "utf-8")
    tokenizer = json.loads((folder / TOKENIZER[0]).read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"unused{number}": number for number in range(len(vocabulary), shape.vocabulary)}
    (folder / TOKENIZER[0]).write_text(json.dumps(tokenizer), "utf-8")


def main(
    folder: Annotated[Path, typer.Argument(help="Folder to write the model to")],
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}")] = "codegen-2b",
    layers: Annotated[int | None, typer.Option(min=1, help="Layers; all of the shape's by default")] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32")] = "bfloat16",
) -> None:
    """Save a random model of a published shape."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"there is no shape {shape}: choose one of {', '.join(SHAPES)}", param_hint="--shape")
    save_random(folder, shape, layers, getattr(torch, dtype))
    typer.echo(f"saved a random {shape} to {folder}, {sum(each.stat().st_size for each in folder.iterdir()):,} bytes")


if __name__ == "__main__":
    typer.run(main)
