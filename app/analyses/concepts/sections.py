"""The section of a concept's page about its keys by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from keyscope.app.analyses.concepts import figures
from keyscope.app.queries.concepts import ConceptLayer, ConceptSummary, concept_layers
from keyscope.app.queries.estimate import Estimate
from keyscope.app.web import formats
from keyscope.app.web.sections import Block, Cell, Column, Figure, layer_table, measured
from keyscope.contract.analyses.concepts import AUROC_LEVELS


def sections(cursor: duckdb.DuckDBPyConnection, found: ConceptSummary) -> Iterator[Block]:
    """The sections of a concept whose keys are computed."""
    layers, shuffled = concept_layers(cursor, found.part)
    yield layer_table(
        "layers",
        "Its keys by layer",
        _text(found),
        _columns(layers, shuffled),
        [
            Figure("any_hit", "Keys with any hit, and by chance", lambda: figures.any_hit_by_layer(layers)),
            Figure("detectors", "Keys that detect it", lambda: figures.detectors_by_layer(layers, shuffled)),
            Figure("hits", "Triggers with a match near, and by chance", lambda: figures.hits_by_layer(layers)),
        ],
        "concept_layers",
        caption="The concept by layer",
    )


def _text(found: ConceptSummary) -> str:
    by_chance = f"{formats.number(found.expected_low)} to {formats.number(found.expected_high)}"
    chance = {
        "twin": "than chance gives, their distinct trigger tokens counted once and calibrated on the twin's keys of their layers",
        "distinct": "than chance gives, their distinct trigger tokens counted once and compared with others about as common",
    }.get(found.against or "", "than random tokens have, which random weights reach too")
    return (
        f"{formats.count(found.any_hit)} of {formats.count(found.keys)} keys have a match within two lines of one of their "
        f"triggers; by chance {formats.number(found.expected)} would ({by_chance}). {formats.count(found.significant)} "
        f"have more matches {chance}, at a false discovery rate of {formats.share(found.alpha)}; for a shuffled "
        f"copy of the concept {formats.count(found.control_significant)} do. Keys that go by one or two words are not among "
        "them, even if the concept is these words. Shares have 95 % intervals over "
        "projects. Counts of keys have none: compare them with chance and with the shuffled copy. The range of chance is "
        "the interval of its rate, widened by 1.96 standard deviations of as many independent keys."
    )


def _columns(layers: Sequence[ConceptLayer], shuffled: Sequence[ConceptLayer]) -> list[Column]:
    return [
        _counts("keys", "All keys of the layer; the next columns count some of them", layers, "keys"),
        _counts("any hit", "", layers, "any_hit"),
        measured("by chance", "", {each.layer: each.expected for each in layers}, formats.number),
        _counts("above random tokens", "Keys with more hits than random tokens have", layers, "above_random"),
        _counts("significant", "Keys with more hits than chance gives", layers, "significant"),
        _counts("shuffled", "", shuffled, "significant"),
        *(
            Column(
                f"AUROC over 0.{level // 10}",
                "",
                {each.layer: Cell(formats.count(each.auroc[level])) for each in layers},
            )
            for level in AUROC_LEVELS
        ),
        _counts(
            "triggers",
            "Stored triggers of the layer's keys in files that are not held out; the next columns are shares of them",
            layers,
            "triggers",
        ),
        measured("with a match near", "", _known({each.layer: each.hit_share for each in layers}), formats.share),
        measured("by chance", "", _known({each.layer: each.chance_share for each in layers}), formats.share),
    ]


def _counts(title: str, about: str, layers: Sequence[ConceptLayer], name: str) -> Column:
    counts: dict[int, Any] = {each.layer: getattr(each, name) for each in layers}
    return Column(title, about, {layer: Cell(formats.count(n), value=n, show=_count) for layer, n in counts.items()})


def _count(n: float) -> str:
    return formats.count(int(n))


def _known(found: Mapping[int, Estimate | None]) -> dict[int, Estimate]:
    return {layer: each for layer, each in found.items() if each is not None}
