"""The kinds of analysis, each with its tables."""

from collections.abc import Mapping

from keyscope.contract.analyses import agreement, concepts, edit, firing, syntax
from keyscope.contract.tables import Table

SCHEMA_VERSION = 1
"""Shared by all kinds; raised only when a column or table changes its meaning."""

KINDS: Mapping[str, tuple[Table, ...]] = {
    "syntax": syntax.TABLES,
    "firing": firing.TABLES,
    "agreement": agreement.TABLES,
    "concepts": concepts.TABLES,
    "edit": edit.TABLES,
}
