"""Token texts inside an open run, so that SQL can speak of tokens as people do; and relations made of Python rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from keyscope.contract.token_text import decode

TEXT_OF = "getvariable('token_texts')[{} + 1]"
"""SQL for the text of a token id."""


def load_texts(connection: DuckDBPyConnection) -> None:
    """Add a table `token_texts` (token_id, text) and the list behind `TEXT_OF`; both live in memory only."""
    rows = connection.execute('SELECT token_id, "bytes" FROM tokens ORDER BY token_id').fetchall()
    ids, texts = [row[0] for row in rows], [decode([row[1]])[0] for row in rows]
    connection.execute(
        "CREATE TEMP TABLE token_texts AS SELECT unnest(?::INTEGER[]) AS token_id, unnest(?::VARCHAR[]) AS text",
        [ids, texts],
    )
    # A list with a place for every id, for ids need not be consecutive.
    connection.execute(
        "SET VARIABLE token_texts = (SELECT list(text ORDER BY id) FROM token_texts "
        "RIGHT JOIN range((SELECT max(token_id) + 1 FROM token_texts)) AS ids(id) ON token_id = id)"
    )


def relation_of(
    connection: DuckDBPyConnection, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> DuckDBPyRelation:
    """A relation of rows that were made in Python; `columns` maps names to DuckDB types."""
    values = [[row[at] for row in rows] for at in range(len(columns))]
    selected = ", ".join(f'unnest(?::{kind}[]) AS "{name}"' for name, kind in columns.items())
    return connection.sql(f"SELECT {selected}", params=values)
