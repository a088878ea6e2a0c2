"""The kernel of the precompute: the best few entries of very many lists, kept while candidates stream past."""

from dataclasses import dataclass

import torch
from torch import Tensor

NO_OWNER = torch.iinfo(torch.int32).max
"""Owner of an empty slot. As the highest number it loses every tie, so an empty slot is replaced first."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Entries on offer, each tensor [n]; a list may get any number of them."""

    lists: Tensor
    scores: Tensor
    owners: Tensor
    positions: Tensor
    values: Tensor

    def take(self, chosen: Tensor) -> "Candidates":
        """The candidates at some indices."""
        return Candidates(
            self.lists[chosen], self.scores[chosen], self.owners[chosen], self.positions[chosen], self.values[chosen]
        )


class BestEntries:
    """For each of `lists` lists the best `slots` entries, at most one per owner.

    An owner is what may hold one place in a list: a file, or in `geva2021`, where every token competes, a token of the
    corpus. The order is total: score descending, then owner ascending (files are numbered by source and path), then
    position ascending. An owner competes with itself first: its better entry replaces its other one. What is kept
    depends on the set of candidates alone, not on their order or batches, which makes shards mergeable; only of two
    entries of one owner with equal scores must the earlier position be offered first.

    State, all on one device and of shape [lists, slots]: `scores` float32 (-inf: empty), `owners` and `positions` int32,
    `values` float32.
    """

    def __init__(self, lists: int, slots: int, device: torch.device, floor: Tensor | None = None) -> None:
        """Start empty; entries that score below `floor` [lists] are not kept."""
        shape = (lists, slots)
        self.scores = torch.full(shape, -torch.inf, device=device)
        self.owners = torch.full(shape, NO_OWNER, dtype=torch.int32, device=device)
        self.positions = torch.zeros(shape, dtype=torch.int32, device=device)
        self.values = torch.zeros(shape, device=device)
        self.floor = torch.full((lists,), -torch.inf, device=device) if floor is None else floor
        # the entry of each list that goes next, cached so that wants() reads one number per list and not all slots
        self._worst_score = torch.full((lists,), -torch.inf, device=device)
        self._worst_owner = torch.full((lists,), NO_OWNER, dtype=torch.int32, device=device)
        self._worst_slot = torch.zeros(lists, dtype=torch.int64, device=device)

    @property
    def n_filled(self) -> int:
        """Entries kept."""
        return int((self.owners != NO_OWNER).sum())

    def wants(self, scores: Tensor, owners: Tensor, lists: Tensor | None = None) -> Tensor:
        """Which candidates might get in: better than the list's worst entry and not below its floor.

        A cheap filter on the device: once the lists are full it rejects almost all of a batch, and only what passes is
        located and offered.

        Args:
            scores: [..., lists] without `lists`, any shape with it.
            owners: broadcastable to `scores`.
            lists: the list of each candidate, shaped like `scores`.
        """
        worst = self._worst_score if lists is None else self._worst_score[lists]
        worst_owner = self._worst_owner if lists is None else self._worst_owner[lists]
        floor = self.floor if lists is None else self.floor[lists]
        # at the floor itself an entry may still win by its owner, so >= there
        return ((scores > worst) | ((scores == worst) & (owners < worst_owner))) & (scores >= floor)

    def offer(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Keep the candidates that are good enough.

        Returns:
            Indices of the candidates that got in, in that order, and the flat slot (list * slots + slot) each was
            written to. A slot may occur twice; the later one counts.
        """
        # a scatter with two candidates for one list would write one of them at random, so each turn has one per list
        taken, slots = [], []
        for turn in _turns(candidates.lists):
            chosen, slot = self._offer_distinct(candidates.take(turn))
            taken.append(turn[chosen])
            slots.append(slot)
        return torch.cat(taken), torch.cat(slots)

    def _offer_distinct(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Offer candidates whose lists all differ."""
        lists = candidates.lists
        # at most one slot has the candidate's owner; argmax of an all-false row is 0, which torch.where then ignores
        same = self.owners[lists] == candidates.owners[:, None]
        slot = torch.where(same.any(dim=1), same.to(torch.int8).argmax(dim=1), self._worst_slot[lists])
        replaces_own = candidates.scores > self.scores[lists, slot]
        accepted = torch.where(
            same.any(dim=1), replaces_own, self.wants(candidates.scores, candidates.owners, lists)
        ).nonzero()[:, 0]
        lists, slot = lists[accepted], slot[accepted]
        self.scores[lists, slot] = candidates.scores[accepted]
        self.owners[lists, slot] = candidates.owners[accepted]
        self.positions[lists, slot] = candidates.positions[accepted]
        self.values[lists, slot] = candidates.values[accepted]
        self._find_worst(lists)
        return accepted, lists * self.scores.shape[1] + slot

    def _find_worst(self, lists: Tensor) -> None:
        # of equal worst scores the highest owner goes first; empty slots are -inf with NO_OWNER, the highest of all
        scores = self.scores[lists]
        worst = scores.amin(dim=1)
        owners = torch.where(scores == worst[:, None], self.owners[lists], -1)
        self._worst_score[lists] = worst
        self._worst_owner[lists] = owners.amax(dim=1)
        self._worst_slot[lists] = owners.argmax(dim=1)


def _turns(lists: Tensor) -> list[Tensor]:
    """Split indices into turns in which no list occurs twice; earlier candidates of a list get earlier turns."""
    if len(lists) == 0:
        return [torch.zeros(0, dtype=torch.int64, device=lists.device)]
    ordered, order = torch.sort(lists, stable=True)
    first = torch.searchsorted(ordered, ordered)
    turn, by_turn = torch.sort(torch.arange(len(lists), device=lists.device) - first, stable=True)
    # the sizes come to the host at once: a comparison per turn would wait for a GPU as often
    return list(order[by_turn].split(torch.bincount(turn).tolist()))
