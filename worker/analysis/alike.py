"""The null model for what triggers have in common: keys that go by a token, the token before it, or a position.

A key that fires on one rare token has the same node at all its triggers, because that token only occurs there, and is
near the same concepts. Compared with random places of the corpus this looks like knowledge, and keys with random weights
prefer tokens too. So each distinct unit of a key (token, previous token,
position) is counted once, and compared with other units about as common: how often does a random one of those have the
value?
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FEWEST = 32
"""Fewest units of a class, if the language has that many: fewer would give poor estimates of its shares."""
_LEAST = 1e-300
"""Floor of a tail before its logarithm, which rounding may leave at 0 or below."""


def units(store: TokenStore, token: IntArray, first: IntArray) -> IntArray:
    """What a key could go by without any knowledge: the token, the token before it, the position in the window.

    Args:
        store: the corpus.
        token: [n], numbers of tokens.
        first: [n], number of the first token of each token's window.

    Returns:
        [kinds of units, n]; the token before a window's first is -1.
    """
    position = token - first
    before = np.where(position > 0, store.token_ids[np.maximum(token - 1, 0)], -1)
    return np.stack([store.token_ids[token].astype(np.int64), before, position])


class Aspect(NamedTuple):
    """Something that tokens have one value of."""

    size: int
    """Number of values."""
    of: Callable[[IntArray], IntArray]
    """Values of some tokens, given by their numbers in the corpus, from 0 to `size` - 1."""


@dataclass(frozen=True)
class Once:
    """The distinct units of some keys, each once per key."""

    trigger: IntArray
    """[units], the key's strongest trigger with the unit; in the order of keys."""
    classes: IntArray
    """[units], the class of each."""


@dataclass(frozen=True)
class Alike:
    """All units of one kind, in classes of similar frequency; a unit in two languages is in a class of each."""

    span: int
    """A number above all units, to code language and unit as one number."""
    codes: IntArray
    """[units], ascending: language * span + unit + 1."""
    classes: IntArray
    """[units], the class of each."""
    shares: Mapping[str, FloatArray]
    """By aspect [classes, values]: the chance that a random place of a random unit of the class has a value."""

    def once(self, key: IntArray, language: IntArray, unit: IntArray) -> Once:
        """The distinct units of every key, from its triggers [triggers], which are ordered by key and rank.

        `np.unique` returns first occurrences, so each unit keeps the value at the key's strongest trigger with it.
        """
        _, trigger = np.unique(key * self.span + unit + 1, return_index=True)
        code = language[trigger] * self.span + unit[trigger] + 1
        return Once(trigger, self.classes[np.searchsorted(self.codes, code)])


def alike_units(
    store: TokenStore, aspects: Mapping[str, Aspect], cut: Cut, chosen: BoolArray | None = None
) -> tuple[Alike, ...]:
    """The units of every kind, among the tokens that count in the chosen files, or in all.

    The frequency of a unit is the number of files that have it. In the shares of a class all units weigh the same, and
    so do all files that have a unit: a key has few triggers per file, however often the unit occurs there.
    """
    parts: list[list[tuple[int, _Part]]] = []
    span = 2 + max(int(store.token_ids.max(initial=0)), cut.size)
    for language in range(len(store.language_names)):
        files = np.flatnonzero((store.languages == language) & (True if chosen is None else chosen))
        token = store.numbers(files)
        if not len(token):
            continue
        file = np.repeat(files, store.counted[files])
        first = store.offsets[file] + cut.start(token - store.offsets[file])
        parts.append([(language, _part(unit, file, token, aspects)) for unit in units(store, token, first)])
    return tuple(_joined(each, span) for each in zip(*parts, strict=True))


def log_tail_of_sum(keys: int, key: IntArray, rate: FloatArray, hit: npt.NDArray[np.bool_]) -> FloatArray:
    """log P(X ≥ hits) for each key, X a sum of independent trials with different rates (Poisson binomial).

    Computed exactly by convolving one trial after another, for all keys at once. A normal approximation fails in the
    far tail, which is all that survives a correction for tens of thousands of keys.

    Args:
        keys: number of keys.
        key: [trials], ascending.
        rate: [trials], the chance of success.
        hit: [trials], whether the trial succeeded.

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
    # summed from the far end, smallest terms first: 1 - P(X < hits) would lose every tail below 1e-16
    tail = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]
    hits = np.bincount(key, hit, keys).astype(np.int64)
    reached = np.clip(tail[np.arange(keys), hits], _LEAST, 1.0)
    return np.where(hits > 0, np.log(reached), 0.0)


@dataclass(frozen=True)
class _Part:
    """The units of one kind in one language."""

    known: IntArray
    classes: IntArray
    shares: dict[str, FloatArray]


def _part(unit: IntArray, file: IntArray, token: IntArray, aspects: Mapping[str, Aspect]) -> _Part:
    """Classes and shares of the units of one language, from its tokens."""
    known, which = np.unique(unit, return_inverse=True)
    pairs, pair, times = np.unique(which * (file.max() + 1) + file, return_inverse=True, return_counts=True)
    in_files = np.bincount(pairs // (file.max() + 1), minlength=len(known))
    classes = _classes(in_files)
    number = int(classes.max()) + 1
    # a place's weight: its share of the file's places of the unit, of the unit's files, of the class's units
    weight = 1.0 / (times[pair] * in_files[which] * np.bincount(classes)[classes[which]])
    shares = {}
    # one aspect at a time: the values of all would take as much memory as the corpus has tokens and concepts
    for name, aspect in aspects.items():
        found = np.bincount(classes[which] * aspect.size + aspect.of(token), weight, number * aspect.size)
        shares[name] = found.reshape(number, aspect.size).astype(np.float64)
    return _Part(known, classes, shares)


def _classes(in_files: IntArray) -> IntArray:
    """Classes by powers of two in the number of files, commonest first, merged until each has enough units."""
    doublings = np.log2(in_files).astype(np.int64)
    classes = np.zeros(len(in_files), dtype=np.int64)
    number = held = 0
    for doubling in range(int(doublings.max()), -1, -1):
        of_doubling = doublings == doubling
        classes[of_doubling] = number
        held += int(of_doubling.sum())
        if held >= FEWEST:
            number, held = number + 1, 0
    # the rarest units, if too few for a class of their own, join the next more common one
    return np.where((classes == number) & (number > 0), number - 1, classes)


def _joined(parts: Sequence[tuple[int, _Part]], span: int) -> Alike:
    """Join the languages; classes are numbered through."""
    counts = [int(part.classes.max()) + 1 for _, part in parts]
    offsets = np.cumsum([0, *counts[:-1]])
    return Alike(
        span=span,
        codes=np.concatenate([language * span + part.known + 1 for language, part in parts]),
        classes=np.concatenate([part.classes + offset for (_, part), offset in zip(parts, offsets, strict=True)]),
        shares={name: np.concatenate([part.shares[name] for _, part in parts]) for name in parts[0][1].shares},
    )
