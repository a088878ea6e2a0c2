"""Summaries of a model's current labels: progress, agreement beyond chance, and kinds by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from keyscope.app.labels import statistics
from keyscope.app.labels.models import Kind, Label
from keyscope.app.labels.statistics import MISSING, Ratings, Statistic
from keyscope.contract.keys import KeyId

KINDS = tuple(Kind)
MOST_PAIRS = 30
"""Pairs of people that get a κ: those with the most keys in common."""


@dataclass(frozen=True, slots=True)
class CurrentLabels:
    """Everyone's current labels of one model's keys."""

    people: Sequence[str]
    keys: Ratings
    """Layer and index of each labelled key, sorted; shape `keys × 2`."""
    ratings: Ratings
    """Index into `KINDS`, or MISSING; shape `keys × people`."""

    @property
    def layers(self) -> Ratings:
        """Layer of each key; shape `keys`."""
        return self.keys[:, 0]

    @property
    def n_labels(self) -> int:
        return int((self.ratings != MISSING).sum())

    def disputed(self) -> Iterator[tuple[KeyId, list[tuple[str, Kind]]]]:
        """Each key with labels of different kinds, and who gave which."""
        given = self.ratings != MISSING
        highest = self.ratings.max(axis=1, initial=MISSING)
        lowest = np.where(given, self.ratings, len(KINDS)).min(axis=1, initial=len(KINDS))
        for number in np.flatnonzero(lowest < highest):
            layer, index = self.keys[number].tolist()
            given_by = [
                (self.people[at], KINDS[self.ratings[number, at]]) for at in np.flatnonzero(given[number]).tolist()
            ]
            yield KeyId(layer, index), given_by

    def of(self, person: str) -> Ratings:
        """One person's ratings; shape `keys`."""
        return self.ratings[:, self.people.index(person)]


@dataclass(frozen=True, slots=True)
class Pair:
    """The agreement of two people."""

    first: str
    second: str
    kappa: Statistic


@dataclass(frozen=True, slots=True)
class LayerProgress:
    layer: int
    n_keys: int
    labelled: int
    """Keys that anybody has labelled."""
    by_person: Sequence[int]
    """Keys that each person has labelled, in the order of the people."""


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """The current labels of a layer's keys by kind."""

    layer: int
    counts: dict[Kind, int]


def load(session: Session, weights_sha256: str) -> CurrentLabels:
    """Everyone's current labels of one model's keys, people sorted by name."""
    chosen = select(Label.layer, Label.key_index, Label.person, cast(Label.kind, String)).where(
        Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None)
    )
    rows = session.execute(chosen).all()
    if not rows:
        return CurrentLabels([], np.empty((0, 2), np.int64), np.empty((0, 0), np.int64))
    layers, indices, persons, kinds = zip(*rows, strict=True)
    keys, row = np.unique(np.array([layers, indices], np.int64).T, axis=0, return_inverse=True)
    people, column = np.unique(np.array(persons, object), return_inverse=True)
    number_of = {kind.value: number for number, kind in enumerate(KINDS)}
    ratings = np.full((len(keys), len(people)), MISSING, np.int64)
    ratings[row, column] = [number_of[kind] for kind in kinds]
    return CurrentLabels(people.tolist(), keys, ratings)


def progress(current: CurrentLabels, keys_per_layer: Sequence[int]) -> list[LayerProgress]:
    """Labelling progress of each layer."""
    given = current.ratings != MISSING
    found = []
    for layer, n_keys in enumerate(keys_per_layer):
        here = given[current.layers == layer]
        found.append(LayerProgress(layer, n_keys, int(here.any(axis=1).sum()), here.sum(axis=0).tolist()))
    return found


def pairs(current: CurrentLabels) -> tuple[list[Pair], int]:
    """Cohen's κ of the `MOST_PAIRS` pairs with the most keys in common, and how many pairs have any in common."""
    given = (current.ratings != MISSING).astype(np.int64)
    common = given.T @ given
    found = [
        (int(common[first, second]), first, second)
        for first, second in combinations(range(len(current.people)), 2)
        if common[first, second]
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1:]))
    return [
        Pair(
            current.people[first],
            current.people[second],
            statistics.cohen_kappa(current.ratings[:, first], current.ratings[:, second], len(KINDS)),
        )
        for _, first, second in found[:MOST_PAIRS]
    ], len(found)


def fleiss(current: CurrentLabels, people: Sequence[str] | None = None) -> Statistic:
    """Fleiss' κ of these people, or of everybody."""
    return statistics.fleiss_kappa(_narrowed(current, people), len(KINDS))


def alpha(current: CurrentLabels, people: Sequence[str] | None = None) -> Statistic:
    """Krippendorff's α of these people, or of everybody."""
    return statistics.krippendorff_alpha(_narrowed(current, people), len(KINDS))


def confusion(current: CurrentLabels, first: str, second: str) -> list[list[int]]:
    """Key counts by the first person's kind (rows) and the second's (columns), in the order of `KINDS`."""
    table: list[list[int]] = statistics.confusion(current.of(first), current.of(second), len(KINDS)).tolist()
    return table


def kinds_by_layer(current: CurrentLabels, n_layers: int) -> list[LayerKinds]:
    """The number of current labels of each kind, by layer."""
    return [
        LayerKinds(layer, {kind: int((here == number).sum()) for number, kind in enumerate(KINDS)})
        for layer in range(n_layers)
        for here in [current.ratings[current.layers == layer]]
    ]


def _narrowed(current: CurrentLabels, people: Sequence[str] | None) -> Ratings:
    if people is None:
        return current.ratings
    return current.ratings[:, [number for number, person in enumerate(current.people) if person in people]]
