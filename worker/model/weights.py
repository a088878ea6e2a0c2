"""Resolving a model's name (folder, GGUF file or hub name) to a folder with its weights and their sha256."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is that of whichever client it uses
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from keyscope.worker.model.errors import ModelNotFound, ModelUnreadable

_ORIGIN = "keyscope-origin.json"
_NOT_WEIGHTS = ["*.msgpack", "*.h5", "*.ot", "*.onnx", "*.onnx_data", "onnx/*", "*.gguf", "*.tflite", "*.mlmodel"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A local folder that transformers can load, and the identity of its weights."""

    folder: Path
    model_id: str
    revision: str | None
    sha256: str


def find_weights(model_id: str, revision: str | None, cache: Path) -> Weights:
    """Resolve a local folder, a GGUF file (converted once into `cache`) or a hub name.

    Raises:
        ModelNotFound: it is none of the three.
    """
    path = Path(model_id).expanduser()
    if path.is_dir():
        return _local(path)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelNotFound(f"there is no GGUF file {model_id}")
        return _from_gguf(path, cache)
    return _from_hub(model_id, revision)


def read_model(folder: Path, **options: Any) -> PreTrainedModel:
    """Read a model, every weight from its files.

    Raises:
        ModelUnreadable: a weight is missing; transformers would fill it with random numbers.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelUnreadable(f"{folder} lacks {len(missing)} weights, the first is {missing[0]}")
    assert isinstance(model, PreTrainedModel)
    return model


def _local(folder: Path) -> Weights:
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"the folder {folder} has no model: it has no config.json")
    origin = folder / _ORIGIN
    if origin.is_file():
        facts = json.loads(origin.read_text("utf-8"))
        return Weights(folder, facts["model_id"], None, facts["sha256"])
    return Weights(folder, folder.resolve().name, None, _sha256_of(folder))


def _sha256_of(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelNotFound(f"the folder {folder} has no weights: neither *.safetensors nor pytorch_model*.bin")
    if len(files) == 1:
        return _file_sha256(files[0])
    lines = "".join(f"{file.name} {_file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_hub(model_id: str, revision: str | None) -> Weights:
    try:
        ignored = list(_NOT_WEIGHTS)
        try:
            names = HfApi().list_repo_files(model_id, revision=revision)
            if any(name.endswith(".safetensors") for name in names):
                ignored.append("*.bin")
        except (HTTPError, OSError):  # offline: an earlier download in the cache may do
            pass
        folder = Path(snapshot_download(model_id, revision=revision, ignore_patterns=ignored))
    except HFValidationError as error:
        raise ModelNotFound(f"{model_id!r} is neither a folder, nor a GGUF file, nor a hub name") from error
    except (HTTPError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelNotFound(
            f"{model_id!r}{at} is not a local folder or GGUF file, and the hub did not return it: {_first_line(error)}"
        ) from error
    return Weights(folder, model_id, folder.name, _sha256_of(folder))


def _from_gguf(file: Path, cache: Path) -> Weights:
    """Convert to float32 safetensors once, which later loads read in seconds instead of a minute."""
    sha256 = _file_sha256(file)
    folder = cache / "gguf" / f"{file.stem}-{sha256[:12]}"
    if not (folder / _ORIGIN).is_file():
        model = read_model(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        # transformers refuses to save a model it calls quantised, although loading has already dequantised it
        vars(model).update(hf_quantizer=None, is_quantized=False)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        part = folder.with_name(f"{folder.name}.part-{os.getpid()}")
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        (part / _ORIGIN).write_text(json.dumps({"model_id": file.stem, "sha256": sha256}), "utf-8")
        try:
            part.replace(folder)
        except OSError:
            if not (folder / _ORIGIN).is_file():
                raise
            shutil.rmtree(part)  # another process was faster
    return _local(folder)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
