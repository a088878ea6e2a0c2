"""What kinds of code keys fire on, layer by layer and key by key."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from keyscope.app.analyses.sheets import check_computed
from keyscope.app.queries.syntax import (
    LayerMeasure,
    LayerValue,
    Measure,
    key_syntax,
    layer_measures,
    layer_values,
    trends,
)
from keyscope.app.web import shapes as models
from keyscope.app.web.dependencies import Cursor, Key, OpenRun
from keyscope.contract.analyses.syntax import ASPECTS, LAYER_MEASURES

router = APIRouter(tags=["analyses"])
_LOW = "Lower end of its 95 % interval, by bootstrap over files"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MeasureShape(_Shape):
    """A number with its interval, and what chance gives."""

    value: float
    low: float | None = Field(description=_LOW)
    high: float | None
    control: float | None = Field(description="The same by chance; null where the measure is a control itself")
    control_low: float | None = Field(description="Lower end of what 95 % of the draws of chance gave")
    control_high: float | None
    n: int = Field(description="Keys that it was measured of, or triggers")

    @classmethod
    def of(cls, found: Measure) -> "MeasureShape":
        """The shape of a measure."""
        return cls(**{name: value for name, value in asdict(found).items() if name in cls.model_fields})


class SpreadShape(MeasureShape):
    """A measure of a layer's keys and its spread among them."""

    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None

    @classmethod
    def of_layer(cls, found: LayerMeasure) -> "SpreadShape":
        """The shape of a layer's measure."""
        return cls(**asdict(found))


class RoleShape(MeasureShape):
    """How common a role is among the triggers of a layer."""

    base: float = Field(description="Share of all tokens, languages weighted as among the triggers")
    lift: float | None = Field(description="Value over base: 1 is chance")
    keys: int = Field(description="Keys whose commonest role it is")
    significant: int = Field(description="Those of which this is more than a few tokens that happen to be so, q ≤ 0.05")

    @classmethod
    def of_value(cls, found: LayerValue) -> "RoleShape":
        """The shape of a layer's value."""
        return cls(**asdict(found))


class SyntaxLayer(_Shape):
    """One layer."""

    layer: int
    score: float | None = Field(description=LAYER_MEASURES["score"])
    measures: dict[str, SpreadShape]
    roles: dict[str, RoleShape]


class SyntaxAnswer(_Shape):
    """What kinds of code keys fire on, by layer."""

    ok: Literal[True] = True
    layers: list[SyntaxLayer]
    trends: dict[str, MeasureShape] = Field(description="Upper half of the layers less the lower half, by measure")
    help: dict[str, str] = Field(description="What each measure is")


class ProfileShape(_Shape):
    """One of the commonest values of an aspect among a key's triggers."""

    value: str
    triggers: int
    share: float
    base: float
    lift: float | None
    sample_share: float | None
    q: float | None = Field(description="By chance, over all keys; of the commonest value only")
    distinct_q: float | None = Field(description="The same with equal tokens, neighbours and positions counted once")


class KeySyntaxAnswer(_Shape):
    """What one key fires on."""

    ok: Literal[True] = True
    key: str
    stats: dict[str, models.Value]
    profile: dict[str, list[ProfileShape]] = Field(description=f"By aspect: {', '.join(ASPECTS)}")


@router.get("/runs/{run}/syntax", responses=models.OF_A_RUN)
def show_syntax(run: OpenRun, cursor: Cursor) -> SyntaxAnswer:
    """Every measure of every layer; 404 while the analysis is not computed."""
    check_computed(run, "syntax")
    measures, roles = layer_measures(cursor), layer_values(cursor, "role")
    return SyntaxAnswer(
        layers=[
            SyntaxLayer(
                layer=layer,
                score=found["score"].value if "score" in found else None,
                measures={name: SpreadShape.of_layer(each) for name, each in found.items()},
                roles={
                    role: RoleShape.of_value(by_layer[layer]) for role, by_layer in roles.items() if layer in by_layer
                },
            )
            for layer in range(run.manifest.model.n_layers)
            for found in [{name: by_layer[layer] for name, by_layer in measures.items() if layer in by_layer}]
        ],
        trends={name: MeasureShape.of(each) for name, each in trends(cursor).items()},
        help=LAYER_MEASURES,
    )


@router.get("/runs/{run}/keys/{key}/syntax", responses=models.OF_A_RUN)
def show_key_syntax(run: OpenRun, cursor: Cursor, key: Key) -> KeySyntaxAnswer:
    """What one key fires on; 404 while the analysis is not computed."""
    check_computed(run, "syntax")
    found = key_syntax(cursor, key)
    assert found is not None
    profile: dict[str, list[ProfileShape]] = {}
    for row in found.profile:
        values = {name: value for name, value in asdict(row).items() if name in ProfileShape.model_fields}
        profile.setdefault(row.aspect, []).append(ProfileShape(**values))
    return KeySyntaxAnswer(key=str(key), stats=found.measures, profile=profile)
