"""The provenance of a run: machine, versions and times."""

import platform
import resource
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from keyscope.contract.manifest import Provenance

LIBRARIES = ("torch", "transformers", "tokenizers", "duckdb", "numpy")


def provenance(device: torch.device, batch: int, workers: int, started: datetime) -> Provenance:
    """The provenance of a run that ends now."""
    return Provenance(
        device=device_name(device),
        batch=batch,
        threads=torch.get_num_threads(),
        workers=workers,
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
