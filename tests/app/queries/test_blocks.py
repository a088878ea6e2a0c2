from typing import Any

import duckdb

from keyscope.app.queries.blocks import BLOCK, KEYS, Blocks
from keyscope.app.runs import Run
from keyscope.contract.keys import KeyId

OF_BLOCK = f'SELECT "index", language, rank, coefficient FROM triggers WHERE {BLOCK} ORDER BY language, rank'
OF_KEY = 'SELECT language, rank, coefficient FROM triggers WHERE layer = ? AND "index" = ? ORDER BY language, rank'


class Counted:
    """A cursor that counts its statements."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self.cursor, self.statements = cursor, 0

    def execute(self, *asked: Any) -> duckdb.DuckDBPyConnection:
        self.statements += 1
        return self.cursor.execute(*asked)


def test_a_block_has_the_rows_of_each_key_in_order_and_is_read_once(alpha: Run) -> None:
    blocks = Blocks(kept=8)
    with alpha.reading() as cursor:
        counted: Any = Counted(cursor)
        for layer, size in enumerate(alpha.manifest.model.keys_per_layer):
            for index in range(size):
                wanted = cursor.execute(OF_KEY, [layer, index]).fetchall()
                assert blocks.rows(counted, OF_BLOCK, KeyId(layer, index)) == wanted != []
        sizes = alpha.manifest.model.keys_per_layer
        assert counted.statements == sum(-(-size // KEYS) for size in sizes)
        assert blocks.rows(counted, OF_BLOCK, KeyId(0, sizes[0])) == []
