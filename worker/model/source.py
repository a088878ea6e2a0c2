"""What to load, said without loading anything: this module imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from keyscope.contract.cache import default_cache

DEFAULT_CACHE = default_cache()


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which model to load, and how."""

    model_id: str
    """Local folder, GGUF file or hub name."""
    revision: str | None = None
    dtype: str = "auto"
    """float32, float64, bfloat16 or float16; `auto`: as stored on CUDA, float32 on the CPU, where halves are slow."""
    device: str = "auto"
    """`auto`: CUDA if there, else CPU."""
    cache: Path = DEFAULT_CACHE
    """Where converted GGUF files are kept."""
