"""Syntax trees over the triggers: what kinds of code a key fires on, from shallow to semantic."""

from contract.tables import Table

TABLES: tuple[Table, ...] = ()
