"""Layer agreement: how far each layer's prediction is that of the whole model, by context size too."""

from contract.tables import Table

TABLES: tuple[Table, ...] = ()
