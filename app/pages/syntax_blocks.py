"""The sections of the page of syntax, in order."""

from collections.abc import Mapping, Sequence

import duckdb

from keyscope.app.labels.models import Kind
from keyscope.app.pages.blocks import Block
from keyscope.app.pages.links import Links
from keyscope.app.pages.syntax_keys import KeyBlocks
from keyscope.app.pages.syntax_layers import LayerBlocks
from keyscope.app.pages.syntax_links import SyntaxLinks
from keyscope.app.pages.syntax_values import ValueBlocks
from keyscope.app.runs import Run
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
