"""Edits: what masking a concept's keys does to it and to everything else."""

from contract.tables import Table

TABLES: tuple[Table, ...] = ()
