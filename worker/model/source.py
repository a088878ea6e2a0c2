"""Which model to load; this module imports no torch."""

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
    """float32, float64, bfloat16, float16 or `auto`: as stored on CUDA, float32 on the CPU, where half precision is slow."""
    device: str = "auto"
    """`auto`: CUDA if available, else the CPU."""
    cache: Path = DEFAULT_CACHE
    """Folder of converted GGUF files."""
