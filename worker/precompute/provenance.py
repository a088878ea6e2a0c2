"""The provenance of a run: machine, versions and times."""

import platform
import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from keyscope.contract.manifest import ComputedOn, Provenance
from keyscope.worker.precompute.work import Result

LIBRARIES = ("torch", "transformers", "tokenizers", "duckdb", "numpy")


def provenance(results: Sequence[Result], started: datetime) -> Provenance:
    """The provenance of a run that ends now, with the results of its shards."""
    shards = Counter((each.device, each.batch, each.threads) for each in results)
    (device, batch, threads), _ = shards.most_common(1)[0]
    return Provenance(
        device=device,
        batch=batch,
        threads=threads,
        workers=len({each.worker for each in results}),
        computed_on=[
            ComputedOn(device=device, batch=batch, threads=threads, shards=n)
            for (device, batch, threads), n in sorted(shards.items())
        ],
        started=started,
        finished=datetime.now(UTC),
        code_version=metadata.version("keyscope"),
        code_commit=code_commit(),
        versions={name: metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def device_name(device: torch.device) -> str:
    """A device with the name of its hardware."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.processor() or platform.machine()}"


def kind_of_device(device: torch.device) -> str:
    """A device by the name of its hardware, whichever of several alike it is."""
    return (
        device_name(torch.device(device.type)) if device.type == "cpu" else f"cuda {torch.cuda.get_device_name(device)}"
    )


def code_commit(source: Path = Path(__file__)) -> str | None:
    """The commit of the checkout that this code runs from; None for an installed copy, whoever's repository it is in.

    Args:
        source: this module's file.
    """
    git, file = shutil.which("git"), source.resolve()
    if git is None:
        return None
    found = subprocess.run(  # noqa: S603 - a fixed command
        [git, "-C", str(file.parent), "rev-parse", "--show-toplevel", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    top, _, commit = found.stdout.strip().partition("\n")
    # in a checkout of ours this file is TOP/worker/precompute/provenance.py
    return commit if commit and Path(top).resolve() == file.parents[2] else None
