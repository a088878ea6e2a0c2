"""Concepts: where they are in the corpus and which keys detect them."""

from contract.tables import Table

TABLES: tuple[Table, ...] = ()
