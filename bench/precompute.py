"""The cost of collecting: the whole precompute loop against the bare forward, interleaved batch by batch in one run.

Both run over the same windows without the LM head, in alternating order. Compares CPU time of the process, which other
processes disturb less than wall time (on CUDA: wall time between synchronisations). Two phases:

- first: the collector is empty, so every key keeps the best window of every file;
- steady: as after 50 times `--warm` files. The triggers' floors are the largest coefficients in one window of each of
  `--warm` files, so a key accepts about one file in `--warm`, as its top 50 do after 50 times as many; the samples'
  floors are the priorities that `SLOTS` places leave open in a group of as many windows.

The cost is also given in milliseconds per million coefficients, which does not depend on the speed of the forward.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.shapes import SHAPES, save_random
from bench.timing import now
from keyscope.contract.manifest import RunSettings
from keyscope.worker.corpus.files import SourceFile
from keyscope.worker.corpus.gather import GatherSettings, gather
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients, read_residuals
from keyscope.worker.precompute.collect import Collector, polarities
from keyscope.worker.precompute.sampling import SLOTS
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from keyscope.worker.precompute.windows import Batch, Cut, Window, batches

LAYERS = 2
"""Layers of a random model: the ratio is that of a layer, whose cost grows with the number of layers as the forward's."""


def main(
    model: Annotated[str, typer.Option(help="Folder, GGUF file or hub name")] = "models/codegen-nano",
    corpus: Annotated[Path | None, typer.Option(help="Folder of code; the standard library by default")] = None,
    batch: Annotated[int, typer.Option(help="Windows per batch")] = 8,
    rounds: Annotated[int, typer.Option(help="Batches measured in each phase")] = 12,
    warm: Annotated[int, typer.Option(help="Files seen before the steady phase")] = 100,
    threads: Annotated[int, typer.Option(help="torch threads")] = 1,
    shape: Annotated[
        str | None, typer.Option(help=f"Measure two random layers of a published shape: {', '.join(SHAPES)}")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or auto")] = "auto",
) -> None:
    """Print the ratio in both phases."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    settings = RunSettings()
    with tempfile.TemporaryDirectory() as folder:
        if shape is not None:
            model = str(Path(folder) / shape)
            save_random(Path(model), shape, LAYERS)
        loaded = load_model(ModelSource(model, dtype=dtype, device=device))
        store = tokens_of(Path(folder), corpus or Path(typer.__file__).parents[3], loaded)
        full = [
            each
            for each in batches(store, range(store.n_files), Cut.of(settings), batch, loaded.facts.bos, loaded.device)
            if each.windows[0].length == settings.window and len(each.windows) == batch
        ][: 2 * rounds]
        typer.echo(
            f"{loaded.facts.model_id}, {loaded.device}, {str(loaded.dtype).removeprefix('torch.')}, {threads} threads, "
            f"batches of {batch} × {settings.window} tokens"
        )
        keys = sum(loaded.facts.keys_per_layer)
        first = collector_of(loaded, store, settings, Path(folder) / "first", floors=None)
        _report("first files", keys, *_measure(loaded, first, full[:rounds]))
        floors = floors_of(loaded, store, settings.window, batch, warm)
        steady = steady_collector_of(loaded, store, settings, Path(folder) / "steady", floors, warm)
        _report("steady", keys, *_measure(loaded, steady, full[rounds:]))


def collect(model: CodeModel, collector: Collector, batch: Batch) -> None:
    """Take in one batch, as a `ShardRunner` does."""
    with read_coefficients(model, collector.consume), read_residuals(model, collector.sinks.residual):
        collector.start(batch)
        batch.run(model)
        collector.sinks.finish()


def tokens_of(folder: Path, corpus: Path, model: CodeModel) -> TokenStore:
    """Gather and tokenise 400 Python files under `corpus`."""
    settings = GatherSettings(languages=("python",), files_per_language=400)
    gathered = gather((str(corpus),), settings, folder / "gathered", lambda _files: None)
    files: list[SourceFile] = list(gathered.files())
    write_tokens(folder / "tokens", files, model.tokenizer, lambda _files: None)
    return open_tokens(folder / "tokens")


def collector_of(
    model: CodeModel,
    store: TokenStore,
    settings: RunSettings,
    scratch: Path,
    floors: dict[str, list[torch.Tensor]] | None,
) -> Collector:
    """An empty collector; `scratch` is a folder that does not exist yet."""
    scratch.mkdir()
    none = [torch.full((each.n_keys,), -torch.inf, device=model.device) for each in model.layers]
    return Collector(model, store, settings, floors or dict.fromkeys(polarities(model.facts.gated), none), scratch)


def steady_collector_of(
    model: CodeModel,
    store: TokenStore,
    settings: RunSettings,
    scratch: Path,
    floors: dict[str, list[torch.Tensor]],
    warm: int,
) -> Collector:
    """A collector as after 50 times `warm` files, with the triggers' floors given."""
    steady = collector_of(model, store, settings, scratch, floors)
    for layer in steady.layers:
        layer.samples.floor.fill_(2**24 * (1 - SLOTS / (settings.top_k * warm)))
    return steady


def first_windows(store: TokenStore, size: int, batch: int, files: int, model: CodeModel) -> list[Batch]:
    """One full window from each of the last files, which the measured batches hardly reach."""
    windows = [Window(file, 0, size) for file in range(store.n_files) if store.lengths[file] >= size][-files:]
    found = []
    for start in range(0, len(windows), batch):
        chosen = tuple(windows[start : start + batch])
        spans = [store.token_ids[store.offsets[each.file] :][:size].tolist() for each in chosen]
        ids = torch.tensor([model.facts.bos + span for span in spans], device=model.device)
        found.append(Batch(chosen, ids, (ids.shape[1],) * len(chosen), len(model.facts.bos)))
    return found


def floors_of(model: CodeModel, store: TokenStore, size: int, batch: int, files: int) -> dict[str, list[torch.Tensor]]:
    """The largest coefficient per key and polarity over some files."""
    best = {
        name: [torch.full((each.n_keys,), -torch.inf) for each in model.layers]
        for name in polarities(model.facts.gated)
    }

    def consume(layer: int, coefficients: torch.Tensor) -> None:
        for name, sign in (("max", 1), ("min", -1)):
            if name in best:
                largest = (sign * coefficients[:, len(model.facts.bos) :]).amax(dim=(0, 1)).float()
                best[name][layer] = torch.maximum(best[name][layer].to(largest.device), largest)

    with read_coefficients(model, consume):
        for each in first_windows(store, size, batch, files, model):
            model.run_body(each.token_ids)
    return best


def _measure(model: CodeModel, collector: Collector, measured: list[Batch]) -> tuple[list[float], list[float], int]:
    """Seconds per token of bare and collecting forwards, batch by batch, after one of each to warm up."""

    def bare(each: Batch) -> float:
        started = now(model.device)
        model.run_body(each.token_ids)
        return now(model.device) - started

    def collecting(each: Batch) -> float:
        started = now(model.device)
        collect(model, collector, each)
        return now(model.device) - started

    bares, collectings = [], []
    for number, each in enumerate(measured):
        if number % 2:
            one, other = bare(each), collecting(each)
        else:
            other, one = collecting(each), bare(each)
        bares.append(one / each.n_tokens)
        collectings.append(other / each.n_tokens)
    return bares[1:], collectings[1:], len(measured) - 1


def _report(phase: str, keys: int, bare: list[float], collecting: list[float], rounds: int) -> None:
    cost = (sum(collecting) - sum(bare)) / len(bare) / keys
    ratios = sorted(other / one for one, other in zip(bare, collecting, strict=True))
    typer.echo(
        f"{phase:>12}: (a) bare forward {statistics.median(bare) * 1e6:.1f} µs/token, "
        f"(b) precompute loop {statistics.median(collecting) * 1e6:.1f} µs/token, "
        f"b/a {statistics.median(ratios):.3f} (range {ratios[0]:.3f}–{ratios[-1]:.3f}, total {sum(collecting) / sum(bare):.3f}, "
        f"{rounds} batches); {cost * 1e9:.1f} ms per million coefficients; "
        f"{1 / statistics.median(collecting):,.0f} tokens/s"
    )


if __name__ == "__main__":
    typer.run(main)
