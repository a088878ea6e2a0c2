"""Keyscope beside the libraries people would otherwise use, in one run: TransformerLens and nnsight.

Collecting: every row reads the same windows, one of each file, and keeps each key's largest coefficient in its best
`TOP` of them. The bare forward has no LM head. TransformerLens and nnsight keep values alone, as a notebook does;
Keyscope also finds places, contexts, samples, moments and histograms. The values kept have to agree.

Generating: greedy, with some keys of every layer removed. Keyscope's row also generates the baseline and the
probabilities of both; the masked tokens have to agree.

Run it by `make bench-peers`, which installs the libraries into an environment of their own.
"""

import functools
import importlib.metadata
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import nnsight
import torch
import typer
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from bench.live import PROMPT
from bench.precompute import collect, collector_of, first_windows, floors_of, steady_collector_of, tokens_of
from bench.timing import interleaved, ratio
from keyscope.contract.keys import KeyId, Mask
from keyscope.contract.manifest import RunSettings
from keyscope.contract.wire import TokenEvent
from keyscope.worker.live.generation import Generator, Task
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.collect import Collector
from keyscope.worker.precompute.windows import Batch

TOP = 50
TOLERANCE = 1e-4
"""Of the largest coefficient: libraries with attention of their own add up in another order."""
POST = "mlp.hook_post"
"""What TransformerLens calls a key's coefficient."""


class Disagreement(Exception):
    """A library computed something else, so its time says nothing."""


def main(
    model: Annotated[str, typer.Option(help="Folder, GGUF file or hub name")] = "models/codegen-nano",
    corpus: Annotated[Path | None, typer.Option(help="Folder of code; the standard library by default")] = None,
    batch: Annotated[int, typer.Option(help="Windows per batch")] = 8,
    rounds: Annotated[int, typer.Option(help="Batches measured, after one for warming up")] = 10,
    warm: Annotated[int, typer.Option(help="Files seen before the steady phase")] = 100,
    masks: Annotated[int, typer.Option(help="Masked keys per layer")] = 40,
    new_tokens: Annotated[int, typer.Option(help="Tokens to generate")] = 64,
) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # each library has a model of its own: TransformerLens and nnsight put themselves into its modules
    plain, lens, traced = (load_model(ModelSource(model)) for _ in range(3))
    bridge = TransformerBridge.boot_transformers(
        model, hf_model=lens.model, tokenizer=lens.tokenizer, device=str(lens.device)
    )
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "transformers", "transformer-lens", "nnsight")
    )
    typer.echo(f"{plain.facts.model_id}, {plain.device}, 1 thread; {versions}")
    _collecting(plain, bridge, traced, corpus or Path(typer.__file__).parents[3], batch, rounds, warm)
    _generating(plain, bridge, masks, new_tokens, rounds)


def _collecting(
    plain: CodeModel, bridge: Any, traced: CodeModel, corpus: Path, batch: int, rounds: int, warm: int
) -> None:
    settings = RunSettings(top_k=TOP)
    with tempfile.TemporaryDirectory() as folder:
        store = tokens_of(Path(folder), corpus, plain)
        windows = first_windows(store, settings.window, batch, batch * (rounds + 1), plain)
        floors = floors_of(plain, store, settings.window, batch, warm)
        first = collector_of(plain, store, settings, Path(folder) / "first", None)
        steady = steady_collector_of(plain, store, settings, Path(folder) / "steady", floors, warm)
    kept = {name: _Kept(len(plain.facts.bos)) for name in ("hooks", "lens", "nnsight")}
    envoy, downs = _envoys(traced)
    rows: dict[str, Callable[[int], object]] = {
        "bare forward": lambda number: plain.run_body(windows[number].token_ids),
        "Keyscope, first files": lambda number: collect(plain, first, windows[number]),
        "Keyscope, steady": lambda number: collect(plain, steady, windows[number]),
        "plain hooks, largest values alone": lambda number: _hooked(plain, windows[number], kept["hooks"]),
        "TransformerLens, run_with_cache": lambda number: _cached(bridge, windows[number], kept["lens"]),
        "nnsight, trace without LM head": lambda number: _traced(envoy, downs, windows[number], kept["nnsight"]),
    }
    seconds = interleaved(rows, rounds, plain.device)
    typer.echo(f"\ncollecting, {batch} x {settings.window} tokens a batch, medians of {rounds} batches")
    _table(seconds, "bare forward")
    _agree(
        "the values kept",
        {name: each.values() for name, each in kept.items()} | {"Keyscope": _best(first)[: batch * (rounds + 1)]},
    )


class _Kept:
    """The largest coefficients of every key, one of each window, at most `TOP`."""

    def __init__(self, skipped: int) -> None:
        self._skipped = skipped
        self._best: dict[int, Tensor] = {}

    def add(self, layer: int, coefficients: Tensor) -> None:
        """Take in [windows, columns, keys]; the first columns stand in front of the windows."""
        largest = coefficients[:, self._skipped :].amax(dim=1)
        joined = torch.cat([self._best[layer], largest]) if layer in self._best else largest
        self._best[layer] = joined.topk(min(TOP, len(joined)), dim=0).values

    def values(self) -> Tensor:
        """What was kept, [TOP or fewer, keys of all layers], falling."""
        return torch.cat([self._best[layer] for layer in sorted(self._best)], dim=1)


def _hooked(model: CodeModel, batch: Batch, kept: _Kept) -> None:
    with read_coefficients(model, kept.add):
        model.run_body(batch.token_ids)


def _cached(bridge: Any, batch: Batch, kept: _Kept) -> None:
    _, cache = bridge.run_with_cache(batch.token_ids, names_filter=lambda name: name.endswith(POST))
    for layer in range(bridge.cfg.n_layers):
        kept.add(layer, cache[f"blocks.{layer}.{POST}"])


def _envoys(model: CodeModel) -> tuple[Any, list[Any]]:
    """What nnsight makes of the body of a model, and of its down projections."""
    body = model.model.base_model
    paths = {module: path for path, module in body.named_modules()}
    envoy = nnsight.NNsight(body)
    return envoy, [_inside(envoy, paths[each.down]) for each in model.layers]


def _traced(envoy: Any, downs: list[Any], batch: Batch, kept: _Kept) -> None:
    saved: list[Any] = []
    with envoy.trace(batch.token_ids, use_cache=False):
        for down in downs:
            saved.append(down.input.save())
    for layer, coefficients in enumerate(saved):
        kept.add(layer, coefficients)


def _inside(envoy: Any, path: str) -> Any:
    return functools.reduce(
        lambda inner, name: inner[int(name)] if name.isdigit() else getattr(inner, name), path.split("."), envoy
    )


def _best(collector: Collector) -> Tensor:
    return torch.cat(
        [each.best["max"].scores.sort(dim=1, descending=True).values.T for each in collector.layers], dim=1
    )


def _generating(plain: CodeModel, bridge: Any, masks: int, new_tokens: int, rounds: int) -> None:
    generator = Generator(plain)
    ids = generator.text.encode(PROMPT)[:64]
    prompt = torch.tensor([ids], device=plain.device)
    chosen = tuple(Mask(KeyId(layer.layer, index)) for layer in plain.layers for index in range(masks))
    found: dict[str, list[int]] = {}

    def plainly(_round: int) -> None:
        plain.model.generate(
            prompt, min_new_tokens=new_tokens, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
        )

    def ours(_round: int) -> None:
        seen: list[TokenEvent] = []
        generator.run(Task(ids, chosen, new_tokens, 0.0, 0, 5), seen.append)
        found["Keyscope"] = [event.token_id for event in seen if event.branch == "masked"]

    def remove(coefficients: Tensor, hook: nn.Module) -> Tensor:
        coefficients[..., :masks] = 0
        return coefficients

    hooks = [(f"blocks.{layer.layer}.{POST}", remove) for layer in plain.layers]

    def lens(_round: int) -> None:
        with bridge.hooks(fwd_hooks=hooks):
            generated = bridge.generate(
                prompt,
                max_new_tokens=new_tokens,
                do_sample=False,
                stop_at_eos=False,
                return_type="tokens",
                verbose=False,
            )
        found["TransformerLens"] = generated[0, len(ids) :].tolist()

    seconds = interleaved(
        {
            "transformers, baseline alone": plainly,
            "Keyscope, baseline and masked": ours,
            "TransformerLens, masked alone": lens,
        },
        rounds,
        plain.device,
    )
    typer.echo(
        f"\ngenerating, {len(ids)} + {new_tokens} tokens, {len(chosen)} keys removed, medians of {rounds} rounds"
    )
    _table(seconds, "transformers, baseline alone")
    length = min(len(tokens) for tokens in found.values())
    _agree("the masked tokens", {name: torch.tensor(tokens[:length]) for name, tokens in found.items()})


def _table(seconds: dict[str, list[float]], reference: str) -> None:
    for name, taken in seconds.items():
        each = sorted(one / other for one, other in zip(taken, seconds[reference], strict=True))
        typer.echo(f"  {name:34} {ratio(taken, seconds[reference]):6.2f} (range {each[0]:.2f}–{each[-1]:.2f})")


def _agree(what: str, found: dict[str, Tensor]) -> None:
    reference, *others = found
    for other in others:
        difference = float((found[other] - found[reference]).abs().max()) / max(
            1.0, float(found[reference].abs().max())
        )
        if difference > TOLERANCE:
            raise Disagreement(f"{what} of {other} differ from those of {reference} by {difference:.2g} of the largest")
    typer.echo(f"  {what} agree: {', '.join(found)}")


if __name__ == "__main__":
    typer.run(main)
