"""Memory, disk and page queries at the paper's size: 327,680 keys × 50 triggers × 3 languages, by the real precompute.

The model is random and narrow (32 layers of 10,240 keys, width 64): its forward is cheap, and everything that grows with
the number of keys is as in a 2.7-billion-parameter model. The corpus is random text, one window per file. Prints peak
memory of the process, anonymous and file-backed, peak size of the working folder, size of the run file, and the time of
the pages.
"""

import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from fastapi.testclient import TestClient
from transformers import GPT2Config, GPT2LMHeadModel

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.run import PrecomputeRequest, precompute
from keyscope.worker.progress import Advance, Silent

NANO = Path(__file__).parents[1] / "models" / "codegen-nano"
SUFFIXES = {"python": ".py", "java": ".java", "go": ".go"}


def main(
    files: Annotated[int, typer.Option(help="Files per language; lists fill up from 50")] = 56,
    tokens: Annotated[int, typer.Option(help="Tokens per window")] = 64,
    layers: Annotated[int, typer.Option()] = 32,
    keys: Annotated[int, typer.Option(help="Keys per layer")] = 10_240,
    folder: Annotated[Path | None, typer.Option(help="Working folder; a temporary one by default")] = None,
) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        _save_model(work / "model", layers, keys)
        _write_corpus(work / "corpus", files, tokens)
        request = PrecomputeRequest(
            source=ModelSource(str(work / "model")),
            corpus=(str(work / "corpus"),),
            out=work / "runs",
            settings=RunSettings(window=tokens, stride=tokens, keep_duplicates=True),
            languages=tuple(SUFFIXES),
        )
        with _Watch(work / "runs") as watch:
            started = time.monotonic()
            path = precompute(request, watch)
        typer.echo(
            f"{layers * keys:,} keys × 50 × {len(SUFFIXES)} languages, {files} files each: peak disk {watch.disk / 1e9:.2f} GB, "
            f"run file {path.stat().st_size / 1e9:.2f} GB, {time.monotonic() - started:.0f} s"
        )
        for stage, peak in watch.peaks.items():
            typer.echo(
                f"{stage}: peak anonymous memory {peak.anonymous / 1e9:.2f} GB, mapped files {peak.mapped / 1e9:.2f} GB"
            )
        _time_pages(path, layers, keys)


def _save_model(folder: Path, layers: int, keys: int) -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=layers, n_embd=64, n_inner=keys, n_head=4, n_positions=512, vocab_size=4096)
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO / name, folder)


def _write_corpus(folder: Path, files: int, tokens: int) -> None:
    draw = random.Random(0)
    words = [
        "def",
        "class",
        "import",
        "return",
        "for",
        "while",
        "if",
        "else",
        "int",
        "string",
        "value",
        "data",
        "list",
        "map",
        "self",
        "this",
        "func",
        "var",
        "type",
    ]
    for suffix in SUFFIXES.values():
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(files):
            text = " ".join(draw.choices(words, k=tokens - 2))
            (folder / f"file{number}{suffix}").write_text(f"{text[: tokens * 3]}\n", "utf-8")


@dataclass
class _Peak:
    anonymous: int = 0
    mapped: int = 0


class _Watch(Silent):
    """Samples memory and disk ten times a second and keeps the peaks, of memory per stage."""

    def __init__(self, folder: Path) -> None:
        self.disk = 0
        self.peaks = {"loading": _Peak()}
        self._peak = self.peaks["loading"]
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        self._peak = self.peaks.setdefault(name, _Peak())
        yield lambda _done: None

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self._peak.anonymous = max(self._peak.anonymous, 1024 * int(status["RssAnon"].split()[0]))
            self._peak.mapped = max(self._peak.mapped, 1024 * int(status["RssFile"].split()[0]))
            self.disk = max(self.disk, _size(self._folder))


def _size(folder: Path) -> int:
    """Bytes allocated on disk; files may vanish while they are counted."""
    total = 0
    for root, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += 512 * os.lstat(os.path.join(root, name)).st_blocks
            except FileNotFoundError:
                continue
    return total


def _time_pages(path: Path, layers: int, keys: int) -> None:
    draw = random.Random(0)
    client = TestClient(create_app(Settings(runs=path.parent)))
    run = f"/runs/{path.stem}"
    _report("overview", lambda: _get(client, run))
    _report("layer page", lambda: _get(client, f"{run}/layers/{draw.randrange(layers)}"))
    _report("key page", lambda: _get(client, f"{run}/keys/{KeyId(draw.randrange(layers), draw.randrange(keys))}"))


def _get(client: TestClient, url: str) -> None:
    client.get(url).raise_for_status()


def _report(what: str, read: Callable[[], object], times: int = 25) -> None:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        read()
        taken.append(1000 * (time.perf_counter() - started))
    typer.echo(f"{what}: median {statistics.median(taken):.0f} ms, slowest {max(taken):.0f} ms of {times}")


if __name__ == "__main__":
    typer.run(main)
