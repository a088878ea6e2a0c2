"""The JSON API of concepts: defining and listing them, and the keys that detect them in a run."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from keyscope.app.accounts.identity import Labeler
from keyscope.app.analyses.edits.api import EditShape, edits_of
from keyscope.app.analyses.shapes import numbers
from keyscope.app.concepts import repository
from keyscope.app.concepts.lookup import all_concepts, find_concept
from keyscope.app.concepts.repository import KnownConcept
from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.concepts import (
    ASCENDING,
    SORTS,
    ConceptKey,
    ConceptLanguage,
    ConceptLayer,
    ConceptSummary,
    concept_keys,
    concept_languages,
    concept_layers,
    concept_summaries,
)
from keyscope.app.queries.layers import Order
from keyscope.app.queries.twin import twin_of
from keyscope.app.web import shapes as models
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, OpenRun
from keyscope.contract.concepts import Pattern, define

router = APIRouter(tags=["concepts"])
WRITING = models.OF_A_RUN | models.failures(403, 409, 503)


class ConceptBody(models.Shape):
    """A concept to define: patterns by language, or one pattern for one language."""

    name: str = Field(description="Letters a to z, digits and single hyphens")
    title: str = Field("", description="The name by default")
    description: str = ""
    patterns: dict[str, Pattern] = Field(default_factory=dict, description="By language")
    language: str | None = Field(None, description="Language of the one pattern below")
    regex: str | None = Field(None, description="An expression in RE2 syntax")
    identifiers: list[str] | None = Field(None, description="Whole identifiers, outside comments and strings")
    query: str | None = Field(None, description="A tree-sitter query; everything it captures")
    based_on: int = Field(0, ge=0, description="Version this one replaces; 0 for a new concept")

    @model_validator(mode="after")
    def _check(self) -> "ConceptBody":
        single = self.regex is not None or self.identifiers is not None or self.query is not None
        if single != (self.language is not None):
            raise ValueError("give a pattern and its language together")
        return self

    def by_language(self) -> dict[str, Any]:
        """All patterns, by language."""
        written: dict[str, Any] = {
            name: pattern.model_dump(exclude_none=True) for name, pattern in self.patterns.items()
        }
        if self.language is not None:
            given = {"regex": self.regex, "identifiers": self.identifiers, "query": self.query}
            written[self.language] = {kind: value for kind, value in given.items() if value is not None}
        return written


class ConceptShape(models.Shape):
    """A concept's definition."""

    name: str
    title: str
    description: str
    patterns: dict[str, Pattern]
    sha256: str = Field(description="Hash of the patterns")
    version: int = Field(description="0 for a shipped concept")
    person: str | None
    created_at: datetime | None
    computed: bool = Field(description="Whether its keys are known in this run, for the current definition")

    @classmethod
    def of(cls, known: KnownConcept, computed: bool) -> "ConceptShape":
        concept = known.concept
        return cls(
            name=concept.name,
            title=concept.title,
            description=concept.description,
            patterns=dict(concept.patterns),
            sha256=concept.sha256,
            version=known.version,
            person=known.person,
            created_at=known.created_at,
            computed=computed,
        )


class ConceptsAnswer(models.Shape, models.Answer):
    """All concepts."""

    concepts: list[ConceptShape]
    problem: str | None = Field(description="Why saved concepts are missing, if they are")


class ConceptAnswer(models.Shape, models.Answer):
    """A concept just saved."""

    concept: ConceptShape


class ConceptLanguageShape(models.Shape):
    """A concept in one language, in files that are not held out."""

    language: str
    files: int
    files_with: int
    matches: int
    tokens: int
    concept_tokens: int
    base_rate: float | None = Field(description="Share of tokens with a match within two lines: the chance of a hit")
    base_rate_low: float | None
    base_rate_high: float | None


COMPARED = ("any_hit", "above_random", "significant", "hit_share")
"""Numbers of a layer that are compared with the twin's."""


class LayerCounts(models.Shape):
    """Counts of keys in a layer, and shares of triggers with their 95 % interval over projects."""

    any_hit: int
    expected: float = Field(description="Keys with any hit by chance")
    expected_low: float
    expected_high: float
    above_random: int | None = Field(description="Keys with more hits than random tokens have; null in older files")
    significant: int = Field(description="Keys with more hits than chance gives: the twin's keys, or distinct tokens")
    auroc: dict[int, int] = Field(description="Keys with an AUROC above each level, in per cent")
    hit_share: float | None
    hit_share_low: float | None
    hit_share_high: float | None
    chance_share: float | None = Field(description="Share of triggers with a hit by chance: the base rates")
    chance_share_low: float | None
    chance_share_high: float | None


class ConceptLayerShape(LayerCounts):
    """One layer."""

    layer: int
    keys: int
    triggers: int
    control: LayerCounts = Field(description="The same for a shuffled copy of the concept")
    twin: LayerCounts | None = Field(
        description="The same of the run's twin, whose blocks are shuffled; null if that was not measured"
    )
    excess: dict[str, float] = Field(
        description=f"{', '.join(COMPARED)} less those of the twin, as far as both are known"
    )


class ConceptKeyShape(models.Shape):
    """A key with its scores."""

    key: str
    precision: float | None
    recall: float | None
    lift: float | None
    auroc: float | None
    p: float
    q: float
    scores: dict[str, models.Value] = Field(description="All scores, under the names of the exported table")


class ConceptInRun(models.Shape, models.Answer):
    """A concept in a run."""

    concept: ConceptShape
    summary: dict[str, models.Value] | None = Field(description="In numbers over all layers; null until computed")
    languages: list[ConceptLanguageShape]
    keys: list[ConceptKeyShape]
    by_layer: list[ConceptLayerShape]
    edits: list[EditShape] = Field(description="Edits of the concept that were measured")


@router.get("/runs/{run}/concepts", responses=models.OF_A_RUN)
def list_concepts(run: OpenRun, cursor: Cursor, database: LabelsDatabase) -> ConceptsAnswer:
    """Shipped and saved concepts, and which of them are computed in this run."""
    known, problem = all_concepts(cursor, database)
    computed = concept_summaries(cursor)
    shapes = [ConceptShape.of(each, each.concept.part in computed) for each in known]
    return ConceptsAnswer(concepts=shapes, problem=problem)


@router.post("/runs/{run}/concepts", status_code=201, responses=WRITING)
def define_concept(
    run: OpenRun, cursor: Cursor, body: ConceptBody, person: Labeler, database: LabelsDatabase
) -> ConceptAnswer:
    """Define a concept, or a new version of one; concepts belong to all runs."""
    concept = define(
        {
            "name": body.name,
            "title": body.title or body.name,
            "description": body.description,
            "patterns": body.by_language(),
        }
    )
    known = database.write(lambda session: repository.save_concept(session, concept, person.name, body.based_on))
    return ConceptAnswer(concept=ConceptShape.of(known, concept.part in concept_summaries(cursor)))


@router.get("/runs/{run}/concepts/{name}", responses=models.OF_A_RUN)
def show_concept(
    run: OpenRun,
    name: str,
    cursor: Cursor,
    database: LabelsDatabase,
    sort: Annotated[str, Query(description="A score; p by default")] = "p",
    order: Annotated[Order | None, Query(description="The better end first by default")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> ConceptInRun:
    """A concept with its keys, layers and edits; empty lists until it is computed."""
    if sort not in SORTS:
        raise InvalidParameter(f"keys of a concept cannot be sorted by {sort!r}: choose one of {', '.join(SORTS)}")
    known = find_concept(cursor, database, name)
    part = known.concept.part
    found = concept_summaries(cursor).get(part)
    better: Order = "asc" if sort in ASCENDING else "desc"
    layers, control = concept_layers(cursor, part)
    with twin_of(cursor) as twin:
        of_twin = {each.layer: each for each in concept_layers(twin[0], part)[0]} if twin else {}
    return ConceptInRun(
        concept=ConceptShape.of(known, found is not None),
        summary=None if found is None else _summary(found),
        languages=[ConceptLanguageShape(**_flat(each)) for each in concept_languages(cursor, part)],
        keys=[_key(each) for each in concept_keys(cursor, part, sort, order or better, limit, offset)],
        by_layer=[_layer(*each, of_twin.get(each[0].layer)) for each in zip(layers, control, strict=True)],
        edits=edits_of(cursor, part),
    )


def _summary(found: ConceptSummary) -> dict[str, models.Value]:
    return {name: value for name, value in asdict(found).items() if name not in ("part", "name", "title")}


def _key(found: ConceptKey) -> ConceptKeyShape:
    named = {name: found.scores[name] for name in ("precision", "recall", "lift", "auroc", "p", "q")}
    return ConceptKeyShape.model_validate({"key": str(found.key), **named, "scores": found.scores})


def _layer(layer: ConceptLayer, control: ConceptLayer, twin: ConceptLayer | None) -> ConceptLayerShape:
    own, of_twin = _flat(layer), _flat(twin) if twin else {}
    pairs = {name: (own[name], of_twin.get(name)) for name in COMPARED}
    return ConceptLayerShape(
        **own,
        control=_counts(control),
        twin=twin and _counts(twin),
        excess={name: one - other for name, (one, other) in pairs.items() if one is not None and other is not None},
    )


def _counts(layer: ConceptLayer) -> LayerCounts:
    fields = _flat(layer)
    return LayerCounts(**{name: fields[name] for name in LayerCounts.model_fields})


def _flat(found: ConceptLanguage | ConceptLayer) -> dict[str, Any]:
    """The fields of a shape: estimates written out as three numbers, such as `base_rate`, `…_low` and `…_high`."""
    fields = asdict(found)
    for name in ("base_rate", "expected", "hit_share", "chance_share"):
        if name in fields:
            fields |= numbers(getattr(found, name), name, f"{name}_low", f"{name}_high")
    return fields
