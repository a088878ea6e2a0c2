"""The sections of the page of syntax, in order."""

from collections.abc import Mapping, Sequence

import duckdb

from keyscope.app.analyses.syntax.keys import KeyBlocks
from keyscope.app.analyses.syntax.layers import LayerBlocks
from keyscope.app.analyses.syntax.links import SyntaxLinks
from keyscope.app.analyses.syntax.values import ValueBlocks
from keyscope.app.labels.models import Kind
from keyscope.app.runs import Run
from keyscope.app.web.links import Links
from keyscope.app.web.sections import Block
from keyscope.contract.keys import KeyId


def blocks(
    run: Run, cursor: duckdb.DuckDBPyConnection, links: Links, labelled: Mapping[Kind, Sequence[KeyId]]
) -> list[Block]:
    """All sections of a run whose syntax is analysed; `labelled` has the keys of people's labels by kind."""
    to = SyntaxLinks(run, links)
    layers, values, keys = LayerBlocks(cursor, to), ValueBlocks(cursor, to), KeyBlocks(cursor, to)
    return [
        layers.score(),
        *keys.people(labelled),
        layers.locality(),
        layers.concentration(),
        values.roles(),
        layers.families(),
        values.nodes(),
        keys.described(),
        keys.extremes(semantic=False),
        keys.extremes(semantic=True),
        values.base(),
    ]
