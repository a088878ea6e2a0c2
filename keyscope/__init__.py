"""Keyscope: browse, label and mask the feed-forward neurons (keys) of code language models.

In notebooks, `keyscope.open_run("runs/X.duckdb")` opens a run; everything else is behind the command `keyscope`.
"""

from keyscope.notebook import open_run

__all__ = ["open_run"]
