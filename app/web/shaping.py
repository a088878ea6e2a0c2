"""Turn query results into the JSON shapes of the API."""

from dataclasses import asdict
from typing import Any

from pydantic_core import to_json

from keyscope.app import queries
from keyscope.app.queries.search import Hit
from keyscope.app.web import shapes


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


def trigger(found: queries.Example, windows: queries.Windows) -> bytes:
    """A `shapes.TriggerShape` in JSON."""
    places = [
        {"source": each.file.source, "path": each.file.path, "line": each.line, "column": each.column}
        for each in found.places
    ]
    own = {"polarity": found.polarity, "files": found.files, "places": places, **_example(found)}
    return with_fields(own, windows.written(found.window))


def sample(found: queries.Example, windows: queries.Windows) -> bytes:
    """A `shapes.SampleShape` in JSON."""
    own = {"band": found.band, "quantile": found.quantile, **_example(found)}
    return with_fields(own, windows.written(found.window))


def with_fields(own: dict[str, Any], written: bytes) -> bytes:
    """An object in JSON with fields of its own and others that are written already."""
    return to_json(own)[:-1] + b"," + written + b"}"


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
        "coefficients": found.coefficients,
    }


def value_tokens(value: queries.ValueTokens) -> shapes.ValueTokensShape:
    return shapes.ValueTokensShape(promoted=logits(value.promoted), suppressed=logits(value.suppressed))
