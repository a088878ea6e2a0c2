"""The JSON API of layer agreement."""

from collections.abc import Mapping
from dataclasses import asdict

import duckdb
from fastapi import APIRouter
from pydantic import Field

from keyscope.app.analyses.shapes import EstimateShape, beside_twin
from keyscope.app.analyses.sheets import check_computed
from keyscope.app.queries.agreement import (
    ByLayer,
    ContextEstimates,
    context_estimates,
    key_estimates,
    layer_estimates,
    lens_estimates,
    token_estimates,
)
from keyscope.app.web import shapes as models
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.contract.analyses.agreement import (
    CONTEXT_MEASURES,
    CONTROLS,
    LAYER_MEASURES,
    LENS_CONTROLS,
    LENS_MEASURES,
    LENSES,
    TOKEN_MEASURES,
)

router = APIRouter(tags=["analyses"], route_class=RunRoute)


class MeasuredShape(EstimateShape):
    """An estimate, and the files its tokens or keys are in."""

    files: int = Field(description="Files that these are in")


class AgreeingLayer(models.Shape):
    """One layer against the model's output; shares from 0 to 1, every token counting once."""

    layer: int
    residual: float = Field(description=LAYER_MEASURES["residual"])
    ff: float = Field(description=LAYER_MEASURES["ff"])
    value: float = Field(description=LAYER_MEASURES["value"])
    measures: dict[str, MeasuredShape] = Field(description="These and all others, by name, with their intervals")
    controls: dict[str, dict[str, MeasuredShape]] = Field(description="By chance: by control, then by name")
    keys: dict[str, MeasuredShape] = Field(
        description="Key-value agreement: of the token after a key's strongest trigger and its value's top token"
    )
    keys_permuted: dict[str, MeasuredShape] = Field(description="The same with each value dealt to another key")


class ContextLayer(models.Shape):
    """One layer with one size of context."""

    layer: int
    residual: float = Field(description=CONTEXT_MEASURES["residual"])
    residual_full: float = Field(description=CONTEXT_MEASURES["residual_full"])
    measures: dict[str, MeasuredShape]


class AgreeingContext(models.Shape):
    """One size of context."""

    size: int = Field(description="Tokens of context")
    layers: list[ContextLayer]
    measures: dict[str, MeasuredShape] = Field(description="What is measured once for a token")


class PartShape(MeasuredShape):
    """A measure of some of the tokens."""

    split: str
    part: str


class LensShape(MeasuredShape):
    """A measure through one lens, over the files that neither lens was fitted on."""

    lens: str
    control: str = Field(description="Empty for the lens itself")
    measure: str
    split: str
    part: str
    layer: int | None = Field(description="null for prediction depth")


class LayerAgreementAnswer(models.Shape, models.Answer):
    """How far each layer's prediction is that of the whole model."""

    layers: list[AgreeingLayer]
    contexts: list[AgreeingContext]
    depth: list[PartShape] = Field(description=f"{TOKEN_MEASURES['depth']}; by all splits of the tokens")
    lenses: list[LensShape] = Field(description="Both lenses; empty if the analysis is older than the ridge lens")
    help: dict[str, str] = Field(description="What each measure and control is")


@router.get("/runs/{run}/agreement", responses=models.OF_A_RUN)
def show_layer_agreement(run: OpenRun, cursor: Cursor) -> LayerAgreementAnswer:
    """Agreement of every layer with the model's output, by size of context too; 404 until it is computed."""
    check_computed(run, "agreement")
    return beside_twin(cursor, _answer)


def _answer(cursor: duckdb.DuckDBPyConnection) -> LayerAgreementAnswer:
    found, keys = layer_estimates(cursor), key_estimates(cursor).layers
    return LayerAgreementAnswer(
        layers=[_layer(layer, found, keys) for layer in found.get(("residual", ""), {})],
        contexts=[_context(each) for each in context_estimates(cursor)],
        depth=[
            PartShape(split=each.split, part=each.part, **asdict(each.estimate))
            for each in token_estimates(cursor, "depth")
        ],
        lenses=[
            LensShape(
                lens=each.lens,
                control=each.control,
                measure=each.measure,
                split=each.split,
                part=each.part,
                layer=each.layer,
                few=each.estimate.few,
                **asdict(each.estimate),
            )
            for each in lens_estimates(cursor)
        ],
        help=LAYER_MEASURES | TOKEN_MEASURES | CONTEXT_MEASURES | CONTROLS | LENSES | LENS_MEASURES | LENS_CONTROLS,
    )


def _layer(
    layer: int, found: Mapping[tuple[str, str], ByLayer], keys: Mapping[tuple[str, str], ByLayer]
) -> AgreeingLayer:
    controls: dict[str, dict[str, MeasuredShape]] = {name: {} for name in CONTROLS}
    for (measure, control), by_layer in found.items():
        if control and layer in by_layer:
            controls[control][measure] = MeasuredShape.model_validate(by_layer[layer])
    measures = _measures({name: by_layer for (name, control), by_layer in found.items() if not control}, layer)
    return AgreeingLayer(
        layer=layer,
        residual=measures["residual"].value,
        ff=measures["ff"].value,
        value=measures["value"].value,
        measures=measures,
        controls=controls,
        keys=_measures({name: by_layer for (name, control), by_layer in keys.items() if not control}, layer),
        keys_permuted=_measures({name: by_layer for (name, control), by_layer in keys.items() if control}, layer),
    )


def _context(found: ContextEstimates) -> AgreeingContext:
    layers = []
    for layer in found.layers["residual"]:
        measures = _measures(found.layers, layer)
        full = measures["residual_full"].value
        layers.append(
            ContextLayer(layer=layer, residual=measures["residual"].value, residual_full=full, measures=measures)
        )
    whole = {name: MeasuredShape.model_validate(estimate) for name, estimate in found.whole.items()}
    return AgreeingContext(size=found.size, layers=layers, measures=whole)


def _measures(found: Mapping[str, ByLayer], layer: int) -> dict[str, MeasuredShape]:
    return {
        name: MeasuredShape.model_validate(by_layer[layer]) for name, by_layer in found.items() if layer in by_layer
    }
