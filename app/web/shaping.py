"""Turn query results and labels into the JSON shapes of the API."""

from typing import Any

from keyscope.app import queries
from keyscope.app.labels.models import Evidence, Label
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
        top_trigger=None if row.top is None else _code_line(row.top),
        promoted=logits(row.promoted),
    )


def found_key(hit: Hit) -> shapes.FoundKey:
    return shapes.FoundKey(**key_in_table(hit.row).model_dump(), measures=hit.measures)


def trigger(example: queries.Example) -> shapes.TriggerShape:
    return shapes.TriggerShape.model_validate({**_example(example), "polarity": example.polarity})


def sample(example: queries.Example) -> shapes.SampleShape:
    return shapes.SampleShape.model_validate({**_example(example), "band": example.band, "quantile": example.quantile})


def value_tokens(value: queries.ValueTokens) -> shapes.ValueTokensShape:
    return shapes.ValueTokensShape(promoted=logits(value.promoted), suppressed=logits(value.suppressed))


def _code_line(line: queries.CodeLine) -> shapes.CodeLineShape:
    return shapes.CodeLineShape(
        **token(line.token),
        language=line.language,
        coefficient=line.coefficient,
        path=line.path,
        line=line.line,
        column=line.column,
        before=line.before,
        text=line.text,
        after=line.after,
    )


def _example(example: queries.Example) -> dict[str, Any]:
    return {
        "language": example.language,
        "rank": example.rank,
        "coefficient": example.coefficient,
        "source": example.source,
        "path": example.path,
        "file_sha256": example.file_sha256,
        "line": example.line,
        "column": example.column,
        "start": example.start,
        "trigger_index": example.trigger_index,
        "token_ids": [drawn.token.token_id for drawn in example.tokens],
        "tokens": [drawn.token.text for drawn in example.tokens],
        "token_hex": [drawn.token.hex for drawn in example.tokens],
        "coefficients": [drawn.coefficient for drawn in example.tokens],
    }


def label(value: Label) -> shapes.LabelShape:
    return shapes.LabelShape(
        id=value.id,
        person=value.person,
        key=str(value.key),
        kind=value.kind,
        description=value.description,
        confidence=value.confidence,
        tags=value.tags,
        evidence=[Evidence.model_validate(each) for each in value.evidence],
        created_at=value.created_at,
        current=value.current,
        superseded_at=value.superseded_at,
        retracted=value.retracted,
    )
