"""Controls matched on damage: as many other keys as raise the loss of general code by as much as the edit does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from keyscope.worker.analysis.edit.conditions import Changes, Condition, prepare
from keyscope.worker.analysis.edit.elsewhere import Elsewhere, Rows
from keyscope.worker.analysis.edit.keys import FloatArray, IntArray
from keyscope.worker.analysis.edit.measure import Targets, targets_of
from keyscope.worker.analysis.edit.places import GENERAL, Cells
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.model.taps import change_coefficients
from keyscope.worker.precompute.windows import Batch, Window, in_batches
from keyscope.worker.progress import Advance

CLOSE = 0.1
"""Relative difference of two damages that counts as none."""
FLOOR = 1e-3
"""Difference in nats that counts as none, whatever the damage: smaller ones are not told apart on a sample."""
MOST_TRIES = 12


class GeneralCode:
    """A sample of general code on which the damage of many masks is measured."""

    def __init__(self, subject: Subject, cells: Cells, windows: Sequence[Window], advance: Advance) -> None:
        self._subject = subject
        files = sorted({window.file for window in windows})
        longest_first = sorted(windows, key=lambda window: -window.length)
        model = subject.model
        self._batches: list[tuple[Batch, Targets]] = [
            (batch, targets_of(subject, cells, batch, files, advance))
            for batch in in_batches(subject.store, longest_first, subject.batch, model.facts.bos, model.device)
        ]
        self._before = self._losses(lambda _rows: {}, advance)

    def damage(self, keys: IntArray, elsewhere: Elsewhere, advance: Advance) -> float:
        """The mean rise of the loss, in nats, when these keys are held at their means."""
        condition = Condition("damage", "mean", keys, np.zeros(len(keys)))
        prepared = prepare(condition, self._subject.model, elsewhere)
        return float((self._losses(prepared, advance) - self._before).mean())

    @torch.inference_mode()
    def _losses(self, changes: Changes, advance: Advance) -> FloatArray:
        """The loss at each place of general code in the concept's languages, [places]."""
        model, store = self._subject.model, self._subject.store
        found = []
        for batch, targets in self._batches:
            advance(0)
            mine = targets.entries[targets.cells == GENERAL]
            with change_coefficients(model, changes(Rows.of(self._subject, batch))):
                residual = model.run_body(batch.token_ids)
            at = torch.from_numpy(targets.flat[mine]).to(model.device)
            true = torch.from_numpy(store.token_ids[targets.numbers[mine]].astype(np.int64)).to(model.device)
            logits = model.head(residual.flatten(0, 1)[at]).float()
            loss = torch.nn.functional.cross_entropy(logits, true, reduction="none")
            found.append(loss.double().cpu().numpy())
        return np.concatenate(found)


@dataclass(frozen=True)
class Match:
    """How many of a draw's keys do as much damage as the edit."""

    keys: int
    damage: float


def match(damage: Callable[[int], float], first: int, most: int, target: float) -> Match:
    """Find how many keys do that damage, by bisection.

    Damage grows with the number of keys on the whole, not strictly: the nearest number tried is returned if none is
    CLOSE to the target. Where the ends are known, every second step halves the number between them; the others take
    damage for proportional to it, which needs few tries.

    Args:
        damage: of so many keys.
        first: number to begin with.
        most: keys there are.
        target: damage to match.
    """
    low, high, number = Match(0, 0.0), Match(most + 1, math.nan), min(max(first, 1), most)
    tried: list[Match] = []
    while len(tried) < MOST_TRIES:
        tried.append(Match(number, damage(number)))
        if close(tried[-1].damage, target):
            return tried[-1]
        if tried[-1].damage < target:
            low = tried[-1]
        else:
            high = tried[-1]
        number = _between(low, high, target, most, halve=len(tried) % 2 == 0)
        if not low.keys < number < high.keys:
            break
    return min(tried, key=lambda each: abs(each.damage - target))


def _between(low: Match, high: Match, target: float, most: int, halve: bool) -> int:
    """The number to try next; one of the ends if there is none between them."""
    if high.keys > most:
        return min(2 * low.keys, most)
    rise = high.damage - low.damage
    if halve or rise <= 0:
        return (low.keys + high.keys) // 2
    guess = low.keys + round((high.keys - low.keys) * (target - low.damage) / rise)
    return min(max(guess, low.keys + 1), high.keys - 1)


def close(damage: float, target: float) -> bool:
    """Whether two damages count as equal."""
    return abs(damage - target) <= max(CLOSE * abs(target), FLOOR)
