"""Reads the analysis of layer agreement."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb

from keyscope.app.queries.estimate import Estimate, grouped
from keyscope.app.queries.values import rows

_ESTIMATE = "estimate, low, high, n, files, projects"
_LAYERS = f"""
    SELECT measure, control, layer, {_ESTIMATE} FROM agreement
    WHERE split = 'all' AND layer IS NOT NULL ORDER BY measure, control, layer"""  # noqa: S608 - our own columns
_TOKENS = f"""
    SELECT split, part, {_ESTIMATE} FROM agreement
    WHERE measure = ? AND layer IS NULL ORDER BY split, estimate, part"""  # noqa: S608
_PARTS = f"""
    SELECT part, layer, {_ESTIMATE} FROM agreement
    WHERE measure = ? AND control = '' AND split = ? AND layer IS NOT NULL ORDER BY part, layer"""  # noqa: S608
_CONTEXTS = f"SELECT size, measure, layer, {_ESTIMATE} FROM agreement_contexts ORDER BY size, measure, layer"  # noqa: S608
_LENSES = f"""
    SELECT lens, control, measure, split, part, layer, {_ESTIMATE} FROM agreement_lenses
    ORDER BY lens, control, measure, split, try_cast(part AS INTEGER), part, layer"""  # noqa: S608
_KEYS = f"""
    SELECT measure, control, layer, tenth, {_ESTIMATE} FROM agreement_keys
    WHERE projection = 'normed' ORDER BY measure, control, layer, tenth"""  # noqa: S608


ByLayer = Mapping[int, Estimate]
"""One measure by layer. Changes from the layer before have no entry for layer 0."""


@dataclass(frozen=True, slots=True)
class PartEstimate:
    """A measure over one part of the tokens."""

    split: str
    part: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class LensEstimate:
    """A measure through one lens, over the files that neither lens was fitted on."""

    lens: str
    control: str
    measure: str
    split: str
    part: str
    layer: int | None
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class ContextEstimates:
    """Measures with one size of context."""

    size: int
    layers: Mapping[str, ByLayer]
    whole: Mapping[str, Estimate]
    """Measures that do not belong to a layer."""


@dataclass(frozen=True, slots=True)
class KeyEstimates:
    """How often the token after a key's strongest trigger is what its value promotes, by L(v)."""

    layers: Mapping[tuple[str, str], ByLayer]
    """By measure and control."""
    tenths: Mapping[tuple[str, str], ByLayer]
    """The same by tenth of the keys, from 1 to 10; those with the surest values come last."""


def layer_estimates(cursor: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], ByLayer]:
    """Every measure over all tokens, by measure and control; empty if the analysis is missing."""
    return {**grouped(rows(cursor, _LAYERS), keys=2)}


def token_estimates(cursor: duckdb.DuckDBPyConnection, measure: str) -> list[PartEstimate]:
    """A measure of tokens for every part of every split, smallest first within a split."""
    return [PartEstimate(split, part, Estimate(*rest)) for split, part, *rest in rows(cursor, _TOKENS, [measure])]


def part_estimates(cursor: duckdb.DuckDBPyConnection, measure: str, split: str) -> dict[str, ByLayer]:
    """One measure by layer, for every part of a split."""
    return {**grouped(rows(cursor, _PARTS, [measure, split]), keys=1)}


def lens_estimates(cursor: duckdb.DuckDBPyConnection) -> list[LensEstimate]:
    """Everything measured through both lenses; empty for a file that is older than the ridge lens."""
    return [
        LensEstimate(lens, control, measure, split, part, layer, Estimate(*rest))
        for lens, control, measure, split, part, layer, *rest in rows(cursor, _LENSES)
    ]


def lenses_by_layer(found: Iterable[LensEstimate]) -> dict[tuple[str, str, str], ByLayer]:
    """The measures of layers over all tokens, by lens, control and measure."""
    by_layer: dict[tuple[str, str, str], dict[int, Estimate]] = defaultdict(dict)
    for each in found:
        if each.split == "all" and each.layer is not None:
            by_layer[each.lens, each.control, each.measure][each.layer] = each.estimate
    return {**by_layer}


def context_estimates(cursor: duckdb.DuckDBPyConnection) -> list[ContextEstimates]:
    """Every measure by size of context, smallest first."""
    layers: dict[int, dict[str, dict[int, Estimate]]] = defaultdict(lambda: defaultdict(dict))
    whole: dict[int, dict[str, Estimate]] = defaultdict(dict)
    for size, measure, layer, *estimate in rows(cursor, _CONTEXTS):
        if layer is None:
            whole[size][measure] = Estimate(*estimate)
        else:
            layers[size][measure][layer] = Estimate(*estimate)
    return [ContextEstimates(size, dict(layers[size]), whole[size]) for size in sorted(whole)]


def key_estimates(cursor: duckdb.DuckDBPyConnection) -> KeyEstimates:
    """Agreement of keys and values by layer and by tenth."""
    found = rows(cursor, _KEYS)
    return KeyEstimates(
        layers={**grouped((row[:3] + row[4:] for row in found if row[2] is not None), keys=2)},
        tenths={**grouped((row[:2] + row[3:] for row in found if row[3] is not None), keys=2)},
    )
