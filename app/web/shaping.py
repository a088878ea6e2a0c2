"""Turn query results into the JSON shapes of the API."""

from dataclasses import asdict
from typing import Any, TypeVar

from keyscope.app import queries
from keyscope.app.queries.search import Hit
from keyscope.app.web import shapes

S = TypeVar("S", bound=shapes.ExampleShape)


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


def example(shape: type[S], found: queries.Example) -> S:
    """A trigger or a sample, by the shape."""
    values = {name: getattr(found, name) for name in shape.model_fields if hasattr(found, name)}
    values |= {
        "token_ids": [drawn.token.token_id for drawn in found.tokens],
        "tokens": [drawn.token.text for drawn in found.tokens],
        "token_hex": [drawn.token.hex for drawn in found.tokens],
        "coefficients": [drawn.coefficient for drawn in found.tokens],
    }
    return shape.model_validate(values)


def value_tokens(value: queries.ValueTokens) -> shapes.ValueTokensShape:
    return shapes.ValueTokensShape(promoted=logits(value.promoted), suppressed=logits(value.suppressed))
