"""Runs in notebooks and scripts: tables as DuckDB relations, keys that draw themselves. Needs no server and no torch."""
