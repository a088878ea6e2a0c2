"""Runs in notebooks and scripts: tables as DuckDB relations, keys that draw themselves. Needs no server and no torch."""

from keyscope.notebook.run import open_run

__all__ = ["open_run"]
