"""Keys that are like a key by what a run file has: the places they fire at, and the tokens they promote."""

from dataclasses import dataclass

import duckdb

from keyscope.contract.keys import KeyId

_OTHERS = """
    WHERE NOT (layer = $layer AND "index" = $index)
    GROUP BY ALL ORDER BY shared DESC, layer, "index" LIMIT $limit"""
_SHARED_TRIGGERS = f"""
    SELECT layer, "index", stack, count(*) AS shared FROM (SELECT * FROM triggers WHERE polarity = 'max')
    SEMI JOIN (
        SELECT window_id, position FROM triggers WHERE layer = $layer AND "index" = $index AND polarity = 'max'
    ) USING (window_id, position) {_OTHERS}"""  # noqa: S608 - constants only
_SHARED_PROMOTED = f"""
    SELECT layer, "index", stack, count(*) AS shared FROM (SELECT * FROM token_keys WHERE relation = 'promoted')
    SEMI JOIN (
        SELECT token_id FROM value_tokens
        WHERE layer = $layer AND "index" = $index AND projection = 'normed' AND direction = 'promoted'
    ) USING (token_id) {_OTHERS}"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Sharing:
    """A key and how much it has in common with another."""

    key: KeyId
    shared: int


def sharing_triggers(cursor: duckdb.DuckDBPyConnection, key: KeyId, limit: int) -> list[Sharing]:
    """The keys with the most of a key's triggers among their own: the same tokens of the same windows."""
    return _ask(cursor, _SHARED_TRIGGERS, key, limit)


def sharing_promoted(cursor: duckdb.DuckDBPyConnection, key: KeyId, limit: int) -> list[Sharing]:
    """The keys that promote the most of the tokens that a key promotes."""
    return _ask(cursor, _SHARED_PROMOTED, key, limit)


def _ask(cursor: duckdb.DuckDBPyConnection, sql: str, key: KeyId, limit: int) -> list[Sharing]:
    asked = {"layer": key.layer, "index": key.index, "limit": limit}
    return [Sharing(KeyId(*key), shared) for *key, shared in cursor.execute(sql, asked).fetchall()]
