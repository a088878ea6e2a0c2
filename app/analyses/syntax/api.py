"""The JSON API of syntax: what kinds of code keys fire on, by layer and for one key."""

from dataclasses import asdict
from typing import Any

import duckdb
from fastapi import APIRouter
from pydantic import Field

from keyscope.app.analyses.shapes import EstimateShape, beside_twin, numbers
from keyscope.app.analyses.sheets import check_computed
from keyscope.app.queries.estimate import Controlled
from keyscope.app.queries.syntax import key_syntax, layer_measures, layer_values, trends
from keyscope.app.runs import Run
from keyscope.app.web import shapes as models
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Key, OpenRun
from keyscope.contract.analyses.syntax import ASPECTS, LAYER_MEASURES

router = APIRouter(tags=["analyses"], route_class=RunRoute)


class MeasureShape(EstimateShape):
    """An estimate and what chance gives in its place."""

    control: float | None = Field(description="The same by chance; null if the measure is itself a control")
    control_low: float | None = Field(description="Lower end of what 95 % of the draws of chance gave")
    control_high: float | None


class SpreadShape(MeasureShape):
    """A mean over a layer's keys and its spread among them."""

    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None


class RoleShape(MeasureShape):
    """How common a role is among the triggers of a layer."""

    base: float = Field(description="Share of all tokens, with languages weighted as among the triggers")
    lift: float | None = Field(description="Value over base: 1 is chance")
    keys: int = Field(description="Keys whose commonest role it is")
    significant: int = Field(description="Those where this is more than a few repeated tokens, q ≤ 0.05")


class SyntaxLayer(models.Shape):
    """One layer."""

    layer: int
    score: float | None = Field(description=LAYER_MEASURES["score"])
    measures: dict[str, SpreadShape]
    roles: dict[str, RoleShape]


class SyntaxAnswer(models.Shape, models.Answer):
    """What kinds of code keys fire on, by layer."""

    layers: list[SyntaxLayer]
    trends: dict[str, MeasureShape] = Field(description="Upper half of the layers minus the lower half, by measure")
    help: dict[str, str] = Field(description="What each measure is")


class ProfileShape(models.Shape):
    """One of the commonest values of an aspect among a key's triggers."""

    value: str
    triggers: int
    share: float
    base: float
    lift: float | None
    sample_share: float | None
    q: float | None = Field(description="By chance, over all keys; for the commonest value only")
    distinct_q: float | None = Field(description="The same with equal tokens, neighbours and positions counted once")


class KeySyntaxAnswer(models.Shape, models.Answer):
    """What one key fires on."""

    key: str
    stats: dict[str, models.Value]
    profile: dict[str, list[ProfileShape]] = Field(description=f"By aspect: {', '.join(ASPECTS)}")


@router.get("/runs/{run}/syntax", responses=models.OF_A_RUN)
def show_syntax(run: OpenRun, cursor: Cursor) -> SyntaxAnswer:
    """Every measure of every layer; 404 until the analysis is computed."""
    check_computed(run, "syntax")
    return beside_twin(cursor, lambda each: _answer(run, each))


def _answer(run: Run, cursor: duckdb.DuckDBPyConnection) -> SyntaxAnswer:
    measures, roles = layer_measures(cursor), layer_values(cursor, "role")
    return SyntaxAnswer(
        layers=[
            SyntaxLayer(
                layer=layer,
                score=found["score"].value if "score" in found else None,
                measures={name: SpreadShape(**_fields(each)) for name, each in found.items()},
                roles={
                    role: RoleShape(**_fields(by_layer[layer])) for role, by_layer in roles.items() if layer in by_layer
                },
            )
            for layer in range(run.manifest.model.n_layers)
            for found in [{name: by_layer[layer] for name, by_layer in measures.items() if layer in by_layer}]
        ],
        trends={name: MeasureShape(**_fields(each)) for name, each in trends(cursor).items()},
        help=LAYER_MEASURES,
    )


@router.get("/runs/{run}/keys/{key}/syntax", responses=models.OF_A_RUN)
def show_key_syntax(run: OpenRun, cursor: Cursor, key: Key) -> KeySyntaxAnswer:
    """What one key fires on; 404 until the analysis is computed."""
    check_computed(run, "syntax")
    found = key_syntax(cursor, run.blocks, key)
    assert found is not None
    profile: dict[str, list[ProfileShape]] = {}
    for row in found.profile:
        values = {name: value for name, value in asdict(row).items() if name in ProfileShape.model_fields}
        profile.setdefault(row.aspect, []).append(ProfileShape(**values))
    return KeySyntaxAnswer(key=str(key), stats=found.measures, profile=profile)


def _fields(found: Controlled) -> dict[str, Any]:
    """The fields of a shape, the control's beside the estimate's own."""
    fields = asdict(found) | numbers(found.control, "control", "control_low", "control_high")
    del fields["files"]
    return fields
