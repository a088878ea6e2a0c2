"""The JSON API of when keys fire: by layer, and for one key."""

from collections.abc import Mapping
from typing import Any, TypeVar

import duckdb
from fastapi import APIRouter
from pydantic import Field

from keyscope.app.analyses.shapes import EstimateShape, beside_twin
from keyscope.app.analyses.sheets import check_computed
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.firing import Which, group_numbers, key_firing, layer_numbers
from keyscope.app.runs import Run
from keyscope.app.web import shapes as models
from keyscope.app.web import shaping
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Key, OpenRun
from keyscope.contract.analyses.firing import CENSUS, CONTROLS, COUNTED, GROUPS, LEVELS, MEASURES

router = APIRouter(tags=["analyses"], route_class=RunRoute)
Place = TypeVar("Place", int, str)
"""A layer, or the name of a group of layers."""


class FiringNumbers(models.Shape):
    """The numbers of one layer, or of several together; `low` and `high` are null for those in `census` and for the
    controls `drawn` and `gaussian` as well."""

    measures: dict[str, EstimateShape]
    controls: dict[str, dict[str, EstimateShape]] = Field(description="By chance: by control, then by measure")
    by_language: dict[str, dict[str, EstimateShape]] = Field(description="By language, then by measure")


class FiringLayer(FiringNumbers):
    """One layer."""

    layer: int


class FiringGroup(FiringNumbers):
    """A group of layers."""

    layers: str = Field(description="Name of the group, explained in `help`")


class FiringAnswer(models.Shape, models.Answer):
    """When keys fire, by layer."""

    layers: list[FiringLayer]
    groups: list[FiringGroup] = Field(
        description="Over several layers: the mean over their keys; for `best_f1`, the highest"
    )
    help: dict[str, str] = Field(description="What each measure, control, level and group of layers is")
    counted: dict[str, str] = Field(description="What n counts, for measures where it is not the layer's keys")
    census: list[str] = Field(
        description="Measures that follow from the weights of all the layer's keys, so without interval"
    )


class KeyLanguage(models.Shape):
    """A key in one language."""

    language: str
    fires: float | None = Field(description="Share of the language's tokens on which it fires")
    strong: float | None = Field(description="The same for strong firing")
    f1: float | None = Field(description="F1 of telling the language by the key's mean over a file, on held-out files")


class DetectedShape(models.TokenShape):
    """A token that a key detects."""

    occurrences: int = Field(description="Occurrences of the token in the corpus")
    fired: int = Field(description="Those on which the key fires")
    share: float = Field(description="Share of all the key's firing")


class KeyFiringAnswer(models.Shape, models.Answer):
    """When one key fires."""

    key: str
    stats: dict[str, models.Value]
    languages: list[KeyLanguage]
    positions: dict[str, list[float]] = Field(description="Firing rate by bucket of window positions, for each level")
    detects: list[DetectedShape] = Field(description="The tokens it detects, at the level `detector_level`")


@router.get("/runs/{run}/firing", responses=models.OF_A_RUN)
def show_firing(run: OpenRun, cursor: Cursor) -> FiringAnswer:
    """Every measure of every layer; 404 until the analysis is computed."""
    check_computed(run, "firing")
    return beside_twin(cursor, lambda each: _answer(run, each))


def _answer(run: Run, cursor: duckdb.DuckDBPyConnection) -> FiringAnswer:
    found, together = layer_numbers(cursor), group_numbers(cursor)
    there = [name for name in GROUPS if any(name in groups for groups in together.values())]
    return FiringAnswer(
        layers=[FiringLayer(layer=layer, **_numbers(layer, found)) for layer in range(run.manifest.model.n_layers)],
        groups=[FiringGroup(layers=name, **_numbers(name, together)) for name in there],
        help=MEASURES | CONTROLS | LEVELS | GROUPS,
        counted=COUNTED,
        census=list(CENSUS),
    )


@router.get("/runs/{run}/keys/{key}/firing", responses=models.OF_A_RUN)
def show_key_firing(run: OpenRun, cursor: Cursor, key: Key) -> KeyFiringAnswer:
    """When one key fires; 404 until the analysis is computed."""
    check_computed(run, "firing")
    found = key_firing(cursor, run.blocks, run.vocabulary, key)
    assert found is not None
    return KeyFiringAnswer(
        key=str(key),
        stats=found.columns,
        languages=[KeyLanguage.model_validate(each) for each in found.languages],
        positions=found.positions,
        detects=[
            DetectedShape(**shaping.token(each.token), occurrences=each.occurrences, fired=each.fired, share=each.share)
            for each in found.tokens
        ],
    )


def _numbers(place: Place, found: Mapping[Which, Mapping[Place, Estimate]]) -> dict[str, Any]:
    measures: dict[str, EstimateShape] = {}
    controls: dict[str, dict[str, EstimateShape]] = {}
    languages: dict[str, dict[str, EstimateShape]] = {}
    for (measure, control, part), numbers in found.items():
        if place not in numbers:
            continue
        number = EstimateShape.model_validate(numbers[place])
        if control and not part:
            controls.setdefault(control, {})[measure] = number
        elif part and not control:
            languages.setdefault(part, {})[measure] = number
        elif not part:
            measures[measure] = number
    return {"measures": measures, "controls": controls, "by_language": languages}
