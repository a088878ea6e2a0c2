"""The sections of the page of syntax, in order."""

from collections.abc import Mapping, Sequence

import duckdb

from app.labels.models import Kind
from app.pages.blocks import Block
from app.pages.links import Links
from app.pages.syntax_keys import KeyBlocks
from app.pages.syntax_layers import LayerBlocks
from app.pages.syntax_links import SyntaxLinks
from app.pages.syntax_values import ValueBlocks
from app.runs import Run
from contract.keys import KeyId


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
