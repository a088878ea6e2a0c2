"""The keys an edit masks, dose by dose, and the control keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.edit import BASKET
from keyscope.contract.concepts import Concept
from keyscope.contract.keys import Mask, Scale
from keyscope.worker.analysis.edit.errors import ConceptNotComputed, NothingToMask
from keyscope.worker.analysis.edit.settings import EditSettings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.keys import check_key

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
NEAREST = 10
"""Size of the pool of most similar keys a matched control is drawn from."""
ROUNDS = 8
"""Matched controls drawn for each masked key, so that many can be masked where each does little damage."""


@dataclass(frozen=True)
class KeyTable:
    """Every key of the model, numbered through all layers."""

    layers: IntArray
    indices: IntArray
    firing_rate: FloatArray
    norm_value: FloatArray

    def __len__(self) -> int:
        return len(self.layers)


@dataclass(frozen=True)
class Ranking:
    """The keys to mask, in order."""

    keys: IntArray
    """Their numbers, counted through all layers."""
    factors: FloatArray
    doses: tuple[int, ...]
    """Numbers of first keys to mask, ascending."""
    main: int | None
    """The dose that controls and contrasts refer to, if it is given."""


def read_concepts(connection: duckdb.DuckDBPyConnection, wanted: str) -> tuple[Concept, list[Concept]]:
    """The concept of an edit, and all others whose keys have been computed.

    Raises:
        ConceptNotComputed: the concept's keys have not.
    """
    rows = connection.execute("SELECT concept, definition FROM concepts ORDER BY concept").fetchall()
    known = {name: Concept.model_validate_json(definition) for name, definition in rows}
    if wanted not in known:
        raise ConceptNotComputed(
            f"the keys of {wanted} have not been computed, only those of {', '.join(known) or 'no concept'}: "
            "compute them with `keyscope analyse RUN concepts`"
        )
    return known.pop(wanted), list(known.values())


def read_keys(subject: Subject) -> KeyTable:
    """Read every key with the statistics that controls are matched on."""
    query = 'SELECT layer, "index", firing_rate, norm_value FROM keys ORDER BY layer, "index"'
    columns = subject.connection.execute(query).fetchnumpy()
    return KeyTable(
        columns["layer"].astype(np.int64),
        columns["index"].astype(np.int64),
        np.ma.filled(columns["firing_rate"].astype(np.float64), 0.0),
        np.ma.filled(columns["norm_value"].astype(np.float64), 0.0),
    )


def rank(subject: Subject, settings: EditSettings, table: KeyTable) -> Ranking:
    """Rank the keys of an edit by its picker; a dose is at least one key and at most all ranked ones.

    Raises:
        NothingToMask: the picker ranks no key.
        UnknownKey: the basket has a key that the model does not have.
        NothingToMask: the basket puts a number in a coefficient's place.
    """
    first = subject.model.first_keys
    if settings.picker == BASKET:
        for mask in settings.masks:
            check_key(subject.model.facts, mask.key)
        keys = np.array([first[mask.key.layer] + mask.key.index for mask in settings.masks])
        factors = np.array([_factor(mask) for mask in settings.masks])
        return Ranking(keys, factors, (len(keys),), len(keys))
    most = _dose(settings.shares[-1], len(table))
    column = f"rank_{settings.picker}"
    query = f'SELECT layer, "index" FROM concept_keys WHERE concept = ? AND {column} <= ? ORDER BY {column}'  # noqa: S608 - one of ours
    rows = subject.connection.execute(query, [settings.concept, most]).fetchall()
    if not rows:
        raise NothingToMask(f"the picker {settings.picker} finds no key of {settings.concept}: choose another picker")
    keys = np.array([first[layer] + index for layer, index in rows])
    doses = sorted({min(_dose(share, len(table)), len(keys)) for share in settings.shares})
    main = None if settings.share is None else min(_dose(settings.share, len(table)), len(keys))
    return Ranking(keys, np.full(len(keys), settings.factor), tuple(doses), main)


def _factor(mask: Mask) -> float:
    if isinstance(mask.operation, Scale):
        return mask.operation.factor
    raise NothingToMask(
        f"{mask} puts a number in the coefficient's place: give the basket factors; edits find the means by themselves"
    )


def _dose(share: float, keys: int) -> int:
    return max(1, round(share * keys))


def random_controls(table: KeyTable, masked: IntArray, draws: int, seed: int) -> IntArray:
    """Draw as many unmasked keys of every layer as are masked there, [draws, masked].

    Within the layer, because layers differ in what masking any of their keys does.
    """
    random = np.random.default_rng([seed, 0])
    drawn = np.empty((draws, len(masked)), dtype=np.int64)
    for mine, others in _by_layer(table, masked):
        for draw in range(draws):
            drawn[draw, mine] = random.choice(others, size=len(mine), replace=len(mine) > len(others))
    return drawn


def matched_controls(table: KeyTable, masked: IntArray, draw: int, seed: int) -> list[IntArray]:
    """Draw for every masked key others of its layer that fire about as often and write about as much, ROUNDS each.

    The distance is Euclidean in the logarithm of the firing rate and the length of the value, both standardised within
    the layer. One of the NEAREST keys that are neither masked nor taken in this draw is drawn; a layer that has none
    left gives none. Masked keys are visited in random order, since the last ones find the fewest left. Random keys
    mostly fire rarely: masking them does little, and any edit would look strong beside them.

    Returns:
        The keys of each round; all rounds of a draw are of different keys.
    """
    random = np.random.default_rng([seed, 1, draw])
    nearest: dict[int, IntArray] = {}
    for mine, others in _by_layer(table, masked):
        nearest |= dict(zip(mine.tolist(), _nearest(table, masked[mine], others), strict=True))
    taken: set[int] = set()
    rounds = []
    for _ in range(ROUNDS):
        drawn = []
        for place in random.permutation(len(masked)).tolist():
            free = list(islice((number for number in nearest[place].tolist() if number not in taken), NEAREST))
            if free:
                drawn.append(int(random.choice(free)))
                taken.add(drawn[-1])
        rounds.append(np.array(drawn, dtype=np.int64))
    return rounds


def _by_layer(table: KeyTable, masked: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """For each layer with masked keys, their indices in `masked` and the numbers of the layer's other keys."""
    is_masked = np.zeros(len(table), dtype=bool)
    is_masked[masked] = True
    for layer in np.unique(table.layers[masked]):
        mine = np.flatnonzero(table.layers[masked] == layer)
        others = np.flatnonzero((table.layers == layer) & ~is_masked)
        if not len(others):
            raise NothingToMask(f"all keys of layer {layer} are masked, so there is no control: choose a smaller share")
        yield mine, others


def _nearest(table: KeyTable, masked: IntArray, others: IntArray) -> IntArray:
    """The other keys, nearest first, [masked, others]."""
    everybody = np.concatenate([masked, others])
    features = np.stack([np.log(table.firing_rate + 1e-6), table.norm_value], axis=1)[everybody]
    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1.0)
    mine, its = scaled[: len(masked)], scaled[len(masked) :]
    order = [others[np.argsort(((its - one) ** 2).sum(axis=1), kind="stable")] for one in mine]
    return np.stack(order)
