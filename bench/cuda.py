"""Checks on a machine with a GPU: its tests, the rows of a run on it against those on the CPU, and what a run costs.

Without a CUDA device it says so and fails.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from bench import precompute as ratio
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.run import PrecomputeRequest, precompute
from keyscope.worker.progress import Silent

TOLERANCE = 1e-4
"""Largest relative difference of a trigger's coefficient: a GPU adds up in another order."""
TRIGGERS = """
    SELECT t.layer, t."index", t.rank, w.file_id, t.line, t."column", t.coefficient
    FROM triggers t JOIN windows w USING (window_id) WHERE t.polarity = 'max'
    ORDER BY t.layer, t."index", t.language, t.rank
"""
PLACE = ("layer", "index", "rank", "file_id", "line", "column")


def main(
    model: Annotated[str, typer.Option(help="Folder, GGUF file or hub name")] = "models/codegen-nano",
    corpus: Annotated[Path | None, typer.Option(help="Folder of code; the standard library by default")] = None,
    files: Annotated[int, typer.Option(help="Files of the runs that are compared")] = 60,
    batch: Annotated[int, typer.Option(help="Windows per batch where the cost is measured")] = 32,
) -> None:
    """Run all checks."""
    if not torch.cuda.is_available():
        typer.echo("this machine has no CUDA device: nothing was checked", err=True)
        raise typer.Exit(1)
    typer.echo(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests/worker"], check=False)
    agree = _same_rows(model, corpus or Path(typer.__file__).parents[3], files)
    for shape in (None, "codegen-2b"):
        for dtype in ("float32", "bfloat16"):
            ratio.main(model, corpus, batch, 12, 100, torch.get_num_threads(), shape, "cuda", dtype)
    if tests.returncode or not agree:
        raise typer.Exit(1)


def _same_rows(model: str, corpus: Path, files: int, devices: tuple[str, str] = ("cpu", "cuda")) -> bool:
    """Whether runs on two devices have the same coefficients; says how many of their triggers are at the same place."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, device in enumerate(devices):
            request = PrecomputeRequest(
                source=ModelSource(model, dtype="float32", device=device),
                corpus=(str(corpus),),
                out=Path(folder) / str(number),
                settings=RunSettings(files_per_language=files),
                languages=("python",),
            )
            with open_run(precompute(request, Silent())) as connection:
                found.append(connection.execute(TRIGGERS).fetchnumpy())
    one, other = found
    if len(one["rank"]) != len(other["rank"]):
        typer.echo(f"{len(one['rank']):,} triggers on the {devices[0]}, {len(other['rank']):,} on the {devices[1]}")
        return False
    equal = np.logical_and.reduce([one[name] == other[name] for name in PLACE]).mean()
    difference = np.abs(one["coefficient"] - other["coefficient"]) / np.maximum(np.abs(one["coefficient"]), 1e-3)
    typer.echo(
        f"{len(one['rank']):,} triggers on either device, {equal:.4%} at the same place; "
        f"coefficients differ by at most {difference.max():.1e} of themselves"
    )
    return bool(difference.max() <= TOLERANCE)


if __name__ == "__main__":
    typer.run(main)
