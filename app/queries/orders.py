"""All keys of a run in the order of a queue, as numbers, because large models have hundreds of thousands."""

from collections.abc import Iterable
from typing import cast

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.keys import KeyId, Stack

KeyOrder = npt.NDArray[np.int64]
"""Keys in order, each as its stack's letter times 2⁴⁸ plus layer times 2³² plus index."""

_STACK, _LAYER = 48, 32
_NUMBER = f'(ascii(stack)::BIGINT << {_STACK}) | (layer::BIGINT << {_LAYER}) | "index"::BIGINT'
_SAMPLED = f"""
    SELECT {_NUMBER} AS number FROM keys WHERE dead IS NOT TRUE
    ORDER BY row_number() OVER (PARTITION BY layer ORDER BY md5(concat_ws('.', ?, layer, "index"))), layer"""  # noqa: S608
_STRONGEST = f"""
    SELECT {_NUMBER} AS number FROM keys WHERE dead IS NOT TRUE AND isfinite(contribution)
    ORDER BY contribution DESC, layer, "index\""""  # noqa: S608 - constants only


def sampled(cursor: duckdb.DuckDBPyConnection, seed: int) -> KeyOrder:
    """Random keys, one from each layer in turn; the same seed gives the same order. Dead keys are left out."""
    return _numbers(cursor.execute(_SAMPLED, [seed]))


def strongest(cursor: duckdb.DuckDBPyConnection) -> KeyOrder:
    """Keys by how much they write on average. Dead keys are left out."""
    return _numbers(cursor.execute(_STRONGEST))


def numbered(keys: Iterable[KeyId]) -> KeyOrder:
    return np.array([(ord(key.stack) << _STACK) | (key.layer << _LAYER) | key.index for key in keys], dtype=np.int64)


def key_of(number: int) -> KeyId:
    """The key that a number stands for."""
    stack, rest = chr(number >> _STACK), number & ((1 << _STACK) - 1)
    return KeyId(rest >> _LAYER, rest & ((1 << _LAYER) - 1), cast("Stack", stack))


def without(order: KeyOrder, keys: Iterable[KeyId]) -> KeyOrder:
    return order[~np.isin(order, numbered(keys))]


def _numbers(result: duckdb.DuckDBPyConnection) -> KeyOrder:
    return result.fetchnumpy()["number"].astype(np.int64)
