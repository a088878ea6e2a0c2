"""The cost of masking beside a baseline: one batch of two against one unmasked `generate`, interleaved in one run.

Compares CPU time of the process, which other processes disturb less than wall time (on CUDA: wall time between
synchronisations). Every round runs all rows in rotated order; ratios are medians over rounds of ratios within a round.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer

from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.wire import TokenEvent
from keyscope.worker.live.generation import Generator, Task
from keyscope.worker.model.code_model import CodeModel
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

    def generate() -> None:
        loaded.model.generate(
            torch.tensor([ids], device=loaded.device),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )

    def pair() -> None:
        begun, seen = _now(loaded), []

        def emit(event: TokenEvent) -> None:
            if not seen:
                first_tokens.append(_now(loaded) - begun)
            seen.append(event)

        generator.run(Task(ids, chosen, new_tokens, 0.0, 0, 5), emit)
        if len(seen) < 2 * new_tokens:
            raise typer.BadParameter(
                f"a branch ended after {len(seen) - new_tokens} tokens: choose a smaller --new-tokens"
            )

    rows = {"transformers' generate, one row": generate, "baseline and masked, one batch": pair}
    seconds = _measure(loaded, rows, rounds)
    typer.echo(
        f"{loaded.facts.model_id}, {loaded.device}, {threads} threads, {len(ids)} + {new_tokens} tokens, "
        f"{len(chosen)} masked keys, medians of {rounds} rounds"
    )
    reference = seconds["transformers' generate, one row"]
    for name, taken in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(taken, reference, strict=True))
        spent = statistics.median(taken)
        typer.echo(f"{name:32} {spent:7.3f} s  {new_tokens / spent:7.1f} tokens/s per row  ratio {ratio:.2f}")
    typer.echo(f"first token after {1000 * statistics.median(first_tokens):.1f} ms")


def _measure(model: CodeModel, rows: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds per row and round, without the first round."""
    names = list(rows)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = _now(model)
            rows[name]()
            seconds[name].append(_now(model) - started)
    return {name: taken[1:] for name, taken in seconds.items()}


def _now(model: CodeModel) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    typer.run(main)
