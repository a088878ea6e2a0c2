"""What a key may go by without knowing any syntax, and what stands at places of other such things about as common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.syntax.places import PlaceMap
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
FEWEST = 32
"""Units that a class has at least, where a language has as many."""
_LEAST = 1e-300


def units(store: TokenStore, token: IntArray, first: IntArray) -> IntArray:
    """What a key may go by without knowing any syntax: the token, the token before it, the position in the window.

    Args:
        store: the corpus.
        token: [n], numbers of tokens.
        first: [n], number of the first token of each one's window.

    Returns:
        [kinds of units, n]; -1 for the token before the first.
    """
    position = token - first
    before = np.where(position > 0, store.token_ids[np.maximum(token - 1, 0)], -1)
    return np.stack([store.token_ids[token].astype(np.int64), before, position])


@dataclass(frozen=True)
class Once:
    """Every different unit of some keys, once a key."""

    trigger: IntArray
    """[units], the key's strongest trigger with the unit, by key."""
    classes: IntArray
    """[units], the class of each."""


@dataclass(frozen=True)
class Alike:
    """All units of one kind in classes of about as common ones, a unit of two languages being in a class of each."""

    span: int
    """More units than there are."""
    codes: IntArray
    """[units], ascending: language and unit as one number."""
    classes: IntArray
    """[units], the class of each."""
    shares: Mapping[str, FloatArray]
    """By aspect [classes, values]: how often a random place of a random unit of the class has a value."""

    def once(self, key: IntArray, language: IntArray, unit: IntArray) -> Once:
        """Every different unit of every key once; all are of triggers, [triggers], by key and rank."""
        _, trigger = np.unique(key * self.span + unit + 1, return_index=True)
        code = language[trigger] * self.span + unit[trigger] + 1
        return Once(trigger, self.classes[np.searchsorted(self.codes, code)])


def alike_units(store: TokenStore, places: PlaceMap, window: int) -> tuple[Alike, ...]:
    """The units of every kind, windows being spans of `window` tokens.

    A unit is as common as there are files of the language that have it. In the shares of a class every unit weighs the
    same, and so do the files that have it, for a key has few triggers in a file however often the unit stands there.
    """
    parts: list[list[_Part]] = []
    span = 2 + max(int(store.token_ids.max(initial=0)), window)
    for language in range(len(store.language_names)):
        files = np.flatnonzero(store.languages == language)
        token = np.concatenate([np.arange(store.offsets[file], store.offsets[file + 1]) for file in files])
        file = np.repeat(files, store.lengths[files])
        first = token - (token - store.offsets[file]) % window
        values = {aspect: places.of(aspect, token) for aspect in ASPECTS}
        sizes = {aspect: len(places.names[aspect]) for aspect in ASPECTS}
        parts.append([_part(unit, file, values, sizes) for unit in units(store, token, first)])
    return tuple(_joined(each, span) for each in zip(*parts, strict=True))


def log_tail_of_sum(keys: int, key: IntArray, rate: FloatArray, hit: npt.NDArray[np.bool_]) -> FloatArray:
    """log P(X ≥ hits) for each key, X the sum of independent trials each with its own rate.

    Args:
        keys: how many keys there are.
        key: [trials], ascending.
        rate: [trials], the chance of each to succeed.
        hit: [trials], whether it did.

    Returns:
        [keys]; 0 for a key without trials.
    """
    trials = np.bincount(key, minlength=keys)
    start = np.cumsum(trials) - trials
    mass = np.zeros((keys, int(trials.max(initial=0)) + 1))
    mass[:, 0] = 1.0
    for number in range(mass.shape[1] - 1):
        going = np.flatnonzero(trials > number)
        succeeds = rate[start[going] + number][:, None]
        before = mass[going]
        mass[going] = before * (1 - succeeds)
        mass[going, 1:] += before[:, :-1] * succeeds
    # from the far end, so that small terms are summed before large ones
    tail = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]
    hits = np.bincount(key, hit, keys).astype(np.int64)
    reached = np.clip(tail[np.arange(keys), hits], _LEAST, 1.0)
    return np.where(hits > 0, np.log(reached), 0.0)


@dataclass(frozen=True)
class _Part:
    """Units of one kind in one language."""

    known: IntArray
    classes: IntArray
    shares: dict[str, FloatArray]


def _part(unit: IntArray, file: IntArray, values: Mapping[str, IntArray], sizes: Mapping[str, int]) -> _Part:
    """The classes of the units of one language, from its tokens."""
    known, which = np.unique(unit, return_inverse=True)
    pairs, pair, times = np.unique(which * (file.max() + 1) + file, return_inverse=True, return_counts=True)
    in_files = np.bincount(pairs // (file.max() + 1), minlength=len(known))
    classes = _classes(in_files)
    number = int(classes.max()) + 1
    weight = 1.0 / (times[pair] * in_files[which] * np.bincount(classes)[classes[which]])
    shares = {}
    for aspect, value in values.items():
        found = np.bincount(classes[which] * sizes[aspect] + value, weight, number * sizes[aspect])
        shares[aspect] = found.reshape(number, sizes[aspect]).astype(np.float64)
    return _Part(known, classes, shares)


def _classes(in_files: IntArray) -> IntArray:
    """Classes by doublings of the number of files, the commonest first, joined until each has enough units."""
    doublings = np.log2(in_files).astype(np.int64)
    classes = np.zeros(len(in_files), dtype=np.int64)
    number = held = 0
    for doubling in range(int(doublings.max()), -1, -1):
        of_doubling = doublings == doubling
        classes[of_doubling] = number
        held += int(of_doubling.sum())
        if held >= FEWEST:
            number, held = number + 1, 0
    # the rarest that are too few join the class above
    return np.where((classes == number) & (number > 0), number - 1, classes)


def _joined(parts: Sequence[_Part], span: int) -> Alike:
    """The languages' classes one after another."""
    counts = [int(part.classes.max()) + 1 for part in parts]
    offsets = np.cumsum([0, *counts[:-1]])
    return Alike(
        span=span,
        codes=np.concatenate([language * span + part.known + 1 for language, part in enumerate(parts)]),
        classes=np.concatenate([part.classes + offset for part, offset in zip(parts, offsets, strict=True)]),
        shares={aspect: np.concatenate([part.shares[aspect] for part in parts]) for aspect in ASPECTS},
    )
