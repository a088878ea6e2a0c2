"""The cost of masking beside a baseline: one batch of two against one unmasked `generate`, interleaved in one run.

Compares CPU time of the process, which other processes disturb less than wall time (on CUDA: wall time between
synchronisations). Every round runs all rows in rotated order; ratios are medians over rounds of ratios within a round.
"""

import statistics
from typing import Annotated

import torch
import typer

from bench.timing import interleaved, now, ratio
from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.wire import TokenEvent
from keyscope.worker.live.generation import Generator, Task
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource

PROMPT = "import os\nimport sys\n\n\nclass Reader:\n    def __init__(self, path):\n        self.path = path\n\n" * 8


def main(
    model: Annotated[str, typer.Option(help="Folder, GGUF file or hub name")] = "models/codegen-nano",
    prompt_tokens: Annotated[int, typer.Option(help="Tokens in the prompt")] = 64,
    new_tokens: Annotated[int, typer.Option(help="Tokens to generate")] = 64,
    masks: Annotated[int, typer.Option(help="Masked keys per layer")] = 40,
    rounds: Annotated[int, typer.Option(help="Rounds measured, after one for warming up")] = 10,
    threads: Annotated[int, typer.Option(help="torch threads")] = 1,
) -> None:
    """Print the ratio, tokens per second and time to the first token."""
    torch.set_num_threads(threads)
    loaded = load_model(ModelSource(model))
    generator = Generator(loaded)
    ids = generator.text.encode(PROMPT)[:prompt_tokens]
    chosen = tuple(Mask(KeyId(layer.layer, index)) for layer in loaded.layers for index in range(masks))
    first_tokens: list[float] = []

    def generate(_round: int) -> None:
        loaded.model.generate(
            torch.tensor([ids], device=loaded.device),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )

    def pair(_round: int) -> None:
        begun, seen = now(loaded.device), []

        def emit(event: TokenEvent) -> None:
            if not seen:
                first_tokens.append(now(loaded.device) - begun)
            seen.append(event)

        generator.run(Task(ids, chosen, new_tokens, 0.0, 0, 5), emit)
        if len(seen) < 2 * new_tokens:
            raise typer.BadParameter(
                f"a branch ended after {len(seen) - new_tokens} tokens: choose a smaller --new-tokens"
            )

    rows = {"transformers' generate, one row": generate, "baseline and masked, one batch": pair}
    seconds = interleaved(rows, rounds, loaded.device)
    typer.echo(
        f"{loaded.facts.model_id}, {loaded.device}, {threads} threads, {len(ids)} + {new_tokens} tokens, "
        f"{len(chosen)} masked keys, medians of {rounds} rounds"
    )
    reference = seconds["transformers' generate, one row"]
    for name, taken in seconds.items():
        spent = statistics.median(taken)
        typer.echo(
            f"{name:32} {spent:7.3f} s  {new_tokens / spent:7.1f} tokens/s per row  ratio {ratio(taken, reference):.2f}"
        )
    typer.echo(f"first token after {1000 * statistics.median(first_tokens):.1f} ms")


if __name__ == "__main__":
    typer.run(main)
