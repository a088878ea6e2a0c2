"""What the current labels of a model's keys come to: progress, agreement beyond chance, and kinds by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labels import statistics
from app.labels.models import Kind, Label
from app.labels.statistics import MISSING, Estimate, Ratings

KINDS = tuple(Kind)
MOST_PAIRS = 30
"""Pairs of people for whom κ is computed: those with most keys in common."""


@dataclass(frozen=True, slots=True)
class Said:
    """Everyone's current labels of one model's keys."""

    people: Sequence[str]
    layers: Ratings
    """Layer of each key that has a label; shape `keys`."""
    ratings: Ratings
    """Number of the kind in `KINDS`, or MISSING; shape `keys × people`."""

    @property
    def n_labels(self) -> int:
        """All labels together."""
        return int((self.ratings != MISSING).sum())

    def of(self, person: str) -> Ratings:
        """What one person says; shape `keys`."""
        return self.ratings[:, self.people.index(person)]


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two people agree."""

    first: str
    second: str
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How far the labelling of one layer is."""

    layer: int
    n_keys: int
    labelled: int
    """Keys with a label of anybody."""
    by_person: Sequence[int]
    """Keys that each person has labelled, in the order of the people."""


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """The current labels of a layer's keys by kind."""

    layer: int
    counts: dict[Kind, int]


def load(session: Session, weights_sha256: str) -> Said:
    """The current labels of one model's keys, people by name."""
    chosen = select(Label.layer, Label.key_index, Label.person, Label.kind).where(
        Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None)
    )
    rows = session.execute(chosen).all()
    people = sorted({person for _, _, person, _ in rows})
    keys = {key: number for number, key in enumerate(sorted({(layer, index) for layer, index, _, _ in rows}))}
    column = {person: number for number, person in enumerate(people)}
    number_of = {kind: number for number, kind in enumerate(KINDS)}
    ratings = np.full((len(keys), len(people)), MISSING, np.int64)
    for layer, index, person, kind in rows:
        ratings[keys[layer, index], column[person]] = number_of[kind]
    return Said(people, np.array([layer for layer, _ in keys], np.int64), ratings)


def progress(said: Said, keys_per_layer: Sequence[int]) -> list[LayerProgress]:
    """How far each layer is."""
    given = said.ratings != MISSING
    found = []
    for layer, n_keys in enumerate(keys_per_layer):
        here = given[said.layers == layer]
        found.append(LayerProgress(layer, n_keys, int(here.any(axis=1).sum()), here.sum(axis=0).tolist()))
    return found


def pairs(said: Said) -> tuple[list[Pair], int]:
    """κ of the pairs with most keys in common, those first; and how many pairs there are that have any."""
    given = (said.ratings != MISSING).astype(np.int64)
    common = given.T @ given
    found = [
        (int(common[first, second]), first, second)
        for first, second in combinations(range(len(said.people)), 2)
        if common[first, second]
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1:]))
    return [
        Pair(
            said.people[first],
            said.people[second],
            statistics.cohen_kappa(said.ratings[:, first], said.ratings[:, second], len(KINDS)),
        )
        for _, first, second in found[:MOST_PAIRS]
    ], len(found)


def fleiss(said: Said, people: Sequence[str] | None = None) -> Estimate:
    """Fleiss' κ of these people, of all where none are named."""
    return statistics.fleiss_kappa(_narrowed(said, people), len(KINDS))


def alpha(said: Said, people: Sequence[str] | None = None) -> Estimate:
    """Krippendorff's α of these people, of all where none are named."""
    return statistics.krippendorff_alpha(_narrowed(said, people), len(KINDS))


def confusion(said: Said, first: str, second: str) -> list[list[int]]:
    """Keys by what the first person (rows) and the second (columns) say, in the order of `KINDS`."""
    table: list[list[int]] = statistics.confusion(said.of(first), said.of(second), len(KINDS)).tolist()
    return table


def kinds_by_layer(said: Said, n_layers: int) -> list[LayerKinds]:
    """How many current labels of each kind the keys of every layer have."""
    return [
        LayerKinds(layer, {kind: int((here == number).sum()) for number, kind in enumerate(KINDS)})
        for layer in range(n_layers)
        for here in [said.ratings[said.layers == layer]]
    ]


def _narrowed(said: Said, people: Sequence[str] | None) -> Ratings:
    if people is None:
        return said.ratings
    return said.ratings[:, [number for number, person in enumerate(said.people) if person in people]]
