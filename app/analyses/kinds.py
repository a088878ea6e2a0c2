"""The registry of kinds of analysis: routes, navigation, claims and the key page are read from it."""

from dataclasses import dataclass

import duckdb

from keyscope.app.analyses.agreement.kind import AGREEMENT
from keyscope.app.analyses.concepts.kind import CONCEPTS
from keyscope.app.analyses.edits.kind import EDITS
from keyscope.app.analyses.firing.kind import FIRING
from keyscope.app.analyses.kind import AnalysisKind
from keyscope.app.analyses.syntax.kind import SYNTAX
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId

KINDS: tuple[AnalysisKind, ...] = (SYNTAX, AGREEMENT, FIRING, CONCEPTS, EDITS)
"""Every kind, in the order of the navigation."""


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A section of a key's page, ready to draw."""

    template: str
    found: object


def key_parts(run: Run, cursor: duckdb.DuckDBPyConnection, key: KeyId) -> list[ShownPart]:
    """What the analyses of a run have to say about a key."""
    computed = {name for name, _ in run.analyses}
    parts = [kind.key_part for kind in KINDS if kind.key_part and kind.name in computed]
    read = [ShownPart(part.template, part.read(run, cursor, key)) for part in parts]
    return [part for part in read if part.found]
