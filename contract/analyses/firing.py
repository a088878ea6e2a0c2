"""When keys fire: position, language, token detectors, dead keys."""

from contract.tables import Table

TABLES: tuple[Table, ...] = ()
