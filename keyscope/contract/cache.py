"""The cache of downloads and converted models, shared by all commands."""

import os
from pathlib import Path


def default_cache() -> Path:
    """`KEYSCOPE_CACHE`, or `~/.cache/keyscope`."""
    return Path(os.environ.get("KEYSCOPE_CACHE") or "~/.cache/keyscope").expanduser()
