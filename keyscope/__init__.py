"""Keyscope: browse, label and mask the feed-forward neurons (keys) of code language models.

In notebooks, `keyscope.open_run("runs/X.duckdb")` opens a run; everything else is behind the command `keyscope`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyscope.notebook.run import Run

__all__ = ["open_run"]


def open_run(place: str | Path) -> "Run":
    """Open a run for reading.

    `place` is a run file (`runs/X.duckdb`), its web address (`https://…/X.duckdb`) or its place in a dataset on the
    Hugging Face hub (`hf://datasets/ORG/NAME/X.duckdb`). Remote files are downloaded once, into `KEYSCOPE_CACHE`.
    Analyses beside the file come along.

    Raises:
        FileNotFoundError: there is no such file.
        DownloadFailed: the remote file cannot be fetched.
        RunFileError: the file is not a run file this version can read.
    """
    from keyscope.notebook.run import open_run  # the command line starts faster without DuckDB

    return open_run(place)
