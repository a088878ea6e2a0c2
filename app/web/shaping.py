"""Turn query results into the JSON shapes of the API."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import to_json

from keyscope.app import queries
from keyscope.app.queries.search import Hit
from keyscope.app.web import shapes

_NUMBERS = TypeAdapter(list[list[float]])
"""Knows what to expect, so it writes numbers in 60 % of the time that `to_json` takes."""


def token(value: queries.Token) -> dict[str, Any]:
    """The fields of `shapes.TokenShape`."""
    return {"token": value.text, "token_hex": value.hex, "token_id": value.token_id}


def logits(values: list[queries.TokenLogit]) -> list[shapes.TokenLogitShape]:
    return [shapes.TokenLogitShape(**token(each.token), logit=each.logit) for each in values]


def counts(values: list[queries.TokenCount]) -> list[shapes.TokenCountShape]:
    return [shapes.TokenCountShape(**token(each.token), count=each.count) for each in values]


def key_in_table(row: queries.KeyRow) -> shapes.KeyInTable:
    return shapes.KeyInTable(
        key=str(row.key),
        layer=row.key.layer,
        index=row.key.index,
        stats=row.statistics,
        top_trigger=row.top and shapes.CodeLineShape(**asdict(row.top) | token(row.top.token)),
        promoted=logits(row.promoted),
    )


def found_key(hit: Hit) -> shapes.FoundKey:
    return shapes.FoundKey(**key_in_table(hit.row).model_dump(), measures=hit.measures)


def with_examples(
    own: dict[str, Any],
    triggers: Sequence[queries.Example],
    samples: Sequence[queries.Example],
    windows: queries.Windows,
) -> bytes:
    """An object in JSON with fields of its own, `triggers` (`shapes.TriggerShape`) and `samples` (`shapes.SampleShape`).

    It has a hundred thousand values, nearly all as they are in the run file, so they are put together as bytes, once.
    """
    of_triggers = [{"polarity": each.polarity, "files": each.files, "places": _places(each)} for each in triggers]
    of_samples = [{"band": each.band, "quantile": each.quantile} for each in samples]
    return b"".join(
        [
            to_json(own)[:-1],
            b',"triggers":[',
            *_examples(triggers, of_triggers, windows),
            b'],"samples":[',
            *_examples(samples, of_samples, windows),
            b"]}",
        ]
    )


def _examples(
    found: Sequence[queries.Example], own: Sequence[dict[str, Any]], windows: queries.Windows
) -> Iterator[bytes]:
    """The pieces of a list of examples in JSON, each with fields of its own."""
    separator = b""
    for each, fields, coefficients in zip(found, own, _coefficients(found), strict=True):
        yield separator
        yield to_json(fields | _example(each))[:-1]
        yield b',"coefficients":'
        yield coefficients
        yield b","
        yield windows.written(each.window)
        yield b"}"
        separator = b","


def _coefficients(found: Sequence[queries.Example]) -> list[bytes]:
    """The coefficients of each example in JSON, as `Example.coefficients` has them."""
    sizes = {len(each.context) for each in found}
    if len(sizes) != 1 or (size := sizes.pop() // 2) % 2 == 0:
        return [to_json(each.coefficients) for each in found]
    stored = np.frombuffer(b"".join(each.context for each in found), "<f2").reshape(len(found), size)
    scales = np.array([each.scale for each in found], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        around = (stored.astype(np.float32) * scales[:, None]).tolist()
    side = size // 2
    spans = []
    for each, values in zip(found, around, strict=True):
        at, n_tokens = each.trigger_index, len(each.window.token_ids)
        values[side] = each.coefficient
        spans.append(values[max(0, side - at) : side + n_tokens - at])
    # numbers that are not finite become null
    numbers = _NUMBERS.dump_json(spans)[2:-2].split(b"],[")
    written = []
    for each, span, text in zip(found, spans, numbers, strict=True):
        before = max(0, each.trigger_index - side)
        after = len(each.window.token_ids) - before - len(span)
        written.append(b"[" + b"null," * before + text + b",null" * after + b"]")
    return written


def _places(found: queries.Example) -> list[dict[str, Any]]:
    return [
        {"source": each.file.source, "path": each.file.path, "line": each.line, "column": each.column}
        for each in found.places
    ]


def _example(found: queries.Example) -> dict[str, Any]:
    window = found.window
    return {
        "language": found.language,
        "rank": found.rank,
        "coefficient": found.coefficient,
        "source": window.file.source,
        "path": window.file.path,
        "file_sha256": window.file.sha256,
        "line": found.line,
        "column": found.column,
        "start": window.start,
        "trigger_index": found.trigger_index,
    }


def value_tokens(value: queries.ValueTokens) -> shapes.ValueTokensShape:
    return shapes.ValueTokensShape(promoted=logits(value.promoted), suppressed=logits(value.suppressed))
