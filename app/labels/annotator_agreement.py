"""Summaries of a model's current labels: progress, agreement beyond chance, and kinds by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt
from sqlalchemy import String, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from keyscope.app.labels import statistics
from keyscope.app.labels.models import Kind, Label
from keyscope.app.labels.statistics import MISSING, Ratings, Statistic
from keyscope.contract.keys import KeyId, Stack
from keyscope.contract.manifest import ModelFacts

KINDS = tuple(Kind)
MOST_PAIRS = 30
"""Pairs of people that get a κ: those with the most keys in common."""


@dataclass(frozen=True, slots=True)
class CurrentLabels:
    """Everyone's current labels of one model's keys."""

    people: Sequence[str]
    keys: Ratings
    """Layer, index and the code of its stack's letter of each labelled key, sorted; shape `keys × 3`."""
    ratings: Ratings
    """Index into `KINDS`, or MISSING; shape `keys × people`."""

    def in_layer(self, layer: int, stack: Stack) -> npt.NDArray[np.bool_]:
        """Which keys are in a layer; shape `keys`."""
        found: npt.NDArray[np.bool_] = (self.keys[:, 0] == layer) & (self.keys[:, 2] == ord(stack))
        return found

    @property
    def n_labels(self) -> int:
        return int((self.ratings != MISSING).sum())

    def disputed(self) -> Iterator[tuple[KeyId, list[tuple[str, Kind]]]]:
        """Each key with labels of different kinds, and who gave which."""
        given = self.ratings != MISSING
        highest = self.ratings.max(axis=1, initial=MISSING)
        lowest = np.where(given, self.ratings, len(KINDS)).min(axis=1, initial=len(KINDS))
        for number in np.flatnonzero(lowest < highest):
            layer, index, letter = self.keys[number].tolist()
            given_by = [
                (self.people[at], KINDS[self.ratings[number, at]]) for at in np.flatnonzero(given[number]).tolist()
            ]
            yield KeyId(layer, index, cast("Stack", chr(letter))), given_by

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
    columns = Label.layer, Label.key_index, Label.stack, Label.person, sql_cast(Label.kind, String)
    chosen = select(*columns).where(Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None))
    rows = session.execute(chosen).all()
    if not rows:
        return CurrentLabels([], np.empty((0, 3), np.int64), np.empty((0, 0), np.int64))
    layers, indices, stacks, persons, kinds = zip(*rows, strict=True)
    keys, row = np.unique(np.array([layers, indices, list(map(ord, stacks))], np.int64).T, axis=0, return_inverse=True)
    people, column = np.unique(np.array(persons, object), return_inverse=True)
    number_of = {kind.value: number for number, kind in enumerate(KINDS)}
    ratings = np.full((len(keys), len(people)), MISSING, np.int64)
    ratings[row, column] = [number_of[kind] for kind in kinds]
    return CurrentLabels(people.tolist(), keys, ratings)


def progress(current: CurrentLabels, model: ModelFacts) -> list[LayerProgress]:
    """Labelling progress of each layer of the stack that a run is of."""
    given = current.ratings != MISSING
    found = []
    for layer, n_keys in enumerate(model.keys_per_layer):
        here = given[current.in_layer(layer, model.stack)]
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


def kinds_by_layer(current: CurrentLabels, model: ModelFacts) -> list[LayerKinds]:
    """The number of current labels of each kind, by layer of the stack that a run is of."""
    return [
        LayerKinds(layer, {kind: int((here == number).sum()) for number, kind in enumerate(KINDS)})
        for layer in range(model.n_layers)
        for here in [current.ratings[current.in_layer(layer, model.stack)]]
    ]


def _narrowed(current: CurrentLabels, people: Sequence[str] | None) -> Ratings:
    if people is None:
        return current.ratings
    return current.ratings[:, [number for number, person in enumerate(current.people) if person in people]]
