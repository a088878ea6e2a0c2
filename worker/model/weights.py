"""Resolving a model's name (folder, GGUF file or hub name) to a folder with its weights and their sha256."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.texts import first_line
from keyscope.contract.whole import file_sha256
from keyscope.worker.locks import InUse, locked
from keyscope.worker.model.errors import ModelNotFound, ModelUnreadable
from keyscope.worker.model.known import check_gguf
from keyscope.worker.model.sizes import check_sizes

_PART = re.compile(r"(.*)\.part(-\d+)?")
"""The name of a folder that is being written, with or without a process id."""
_NOT_WEIGHTS = ["*.msgpack", "*.h5", "*.ot", "*.onnx", "*.onnx_data", "onnx/*", "*.gguf", "*.tflite", "*.mlmodel"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A local folder that transformers can load, and the identity of its weights."""

    folder: Path
    model_id: str
    revision: str | None
    sha256: str
    n_bytes: int
    """Size of the files with the weights."""


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn whatever goes wrong inside, while a model's files are read, into one sentence.

    Raises:
        ModelUnreadable: instead of any error that is no sentence yet.
    """
    try:
        yield
    except KeyscopeError:
        raise
    except Exception as error:  # readers of pickles, GGUF and configurations raise anything on damaged files
        raise ModelUnreadable(f"{name} cannot be loaded: {first_line(error)}") from error


def find_weights(model_id: str, revision: str | None, cache: Path) -> Weights:
    """Resolve a local folder, a GGUF file (converted once into `cache`) or a hub name.

    Raises:
        ModelNotFound: it is none of the three.
    """
    path = Path(model_id).expanduser()
    if path.is_dir():
        return _local(path, path.resolve().name)
    check_gguf(path)
    if path.suffix == ".gguf":
        return _from_gguf(path, cache)
    return _from_hub(model_id, revision)


def auto_model(encoder_decoder: bool) -> Any:
    """The class that reads models of a kind."""
    return AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM


def read_model(folder: Path, encoder_decoder: bool = False, **options: Any) -> PreTrainedModel:
    """Read a model, every weight from its files.

    Raises:
        ModelUnreadable: a weight is missing; transformers would fill it with random numbers.
    """
    loaded: Any = auto_model(encoder_decoder).from_pretrained(folder, output_loading_info=True, **options)
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelUnreadable(f"{folder} lacks {len(missing)} weights, the first is {missing[0]}")
    assert isinstance(model, PreTrainedModel)
    return model


def _local(folder: Path, model_id: str, revision: str | None = None) -> Weights:
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"the folder {folder} has no model: it has no config.json")
    for file in sorted(folder.iterdir()):
        if not file.is_file() and not file.is_dir():
            raise ModelUnreadable(f"{folder} cannot be loaded: {file.name} is not a regular file")
    files = _weight_files(folder)
    return Weights(folder, model_id, revision, _sha256_of(files), sum(file.stat().st_size for file in files))


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelNotFound(f"the folder {folder} has no weights: neither *.safetensors nor pytorch_model*.bin")
    return files


def _sha256_of(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


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
            f"{model_id!r}{at} is not a local folder or GGUF file, and the hub did not return it: {first_line(error)}"
        ) from error
    return _local(folder, model_id, folder.name)


def _from_gguf(file: Path, cache: Path) -> Weights:
    """Convert to float32 safetensors once, which later loads read in seconds instead of a minute.

    The identity of the weights is that of the GGUF file, which is read each time; nothing beside the weights is believed.
    """
    sha256 = file_sha256(file)
    folder = cache / "gguf" / f"{file.stem}-{sha256[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts(folder.parent)
    with locked(folder, wait=True):
        if not folder.is_dir():
            _convert(file, folder)
    return Weights(folder, file.stem, None, sha256, sum(each.stat().st_size for each in _weight_files(folder)))


def _convert(file: Path, folder: Path) -> None:
    config, _ = PreTrainedConfig.get_config_dict(file.parent, gguf_file=file.name)
    check_sizes(str(file), config, file.stat().st_size)
    model = read_model(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # transformers refuses to save a model it calls quantised, although loading has already dequantised it
    vars(model).update(hf_quantizer=None, is_quantized=False)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    part = folder.with_name(f"{folder.name}.part")
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.replace(folder)


def _remove_parts(cache: Path) -> None:
    """Remove conversions that died; one that goes on holds its lock."""
    for part in cache.iterdir():
        if match := _PART.fullmatch(part.name):
            with suppress(InUse), locked(cache / match[1]):
                shutil.rmtree(part)
