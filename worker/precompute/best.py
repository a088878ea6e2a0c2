"""The kernel of the precompute: the best few entries of very many lists, kept while candidates stream by."""

from dataclasses import dataclass

import torch
from torch import Tensor

NO_OWNER = torch.iinfo(torch.int32).max


@dataclass(frozen=True, slots=True)
class Candidates:
    """Entries on offer, each tensor [n]: at most one a list is better than what the list holds, or many are."""

    lists: Tensor
    scores: Tensor
    owners: Tensor
    positions: Tensor
    values: Tensor

    def take(self, chosen: Tensor) -> "Candidates":
        """Those at the given indices."""
        return Candidates(
            self.lists[chosen], self.scores[chosen], self.owners[chosen], self.positions[chosen], self.values[chosen]
        )


class BestEntries:
    """For each of `lists` lists the best `slots` entries, one a file.

    The order is total: score descending, then file ascending (files are numbered in the order of source and path), then
    position ascending. A file competes with itself first: its better entry replaces its other one. What is kept
    depends on the set of candidates alone, not on the order or the batches they come in; of two entries of one file
    with equal scores the earlier position has to be offered first.

    State, all on one device: `scores` [lists, slots] float32 (-inf: empty), `files` and `positions` int32 and `values`
    float32 of the same shape.
    """

    def __init__(self, lists: int, slots: int, device: torch.device, floor: Tensor | None = None) -> None:
        """Start empty; entries scoring below `floor` [lists] are known not to be needed and are not kept."""
        shape = (lists, slots)
        self.scores = torch.full(shape, -torch.inf, device=device)
        self.owners = torch.full(shape, NO_OWNER, dtype=torch.int32, device=device)
        self.positions = torch.zeros(shape, dtype=torch.int32, device=device)
        self.values = torch.zeros(shape, device=device)
        self.floor = torch.full((lists,), -torch.inf, device=device) if floor is None else floor
        self._worst_score = torch.full((lists,), -torch.inf, device=device)
        self._worst_owner = torch.full((lists,), NO_OWNER, dtype=torch.int32, device=device)
        self._worst_slot = torch.zeros(lists, dtype=torch.int64, device=device)

    @property
    def n_filled(self) -> int:
        """Entries kept."""
        return int((self.owners != NO_OWNER).sum())

    def wants(self, scores: Tensor, owners: Tensor, lists: Tensor | None = None) -> Tensor:
        """Which candidates might get in: better than the list's last entry and not below its floor.

        Args:
            scores: [..., lists] where `lists` is left out, any shape otherwise.
            owners: broadcastable to `scores`.
            lists: the list of each candidate, of the shape of `scores`.
        """
        worst = self._worst_score if lists is None else self._worst_score[lists]
        worst_owner = self._worst_owner if lists is None else self._worst_owner[lists]
        floor = self.floor if lists is None else self.floor[lists]
        return ((scores > worst) | ((scores == worst) & (owners < worst_owner))) & (scores >= floor)

    def offer(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Keep what is good enough.

        Returns:
            Indices of the candidates that got in, in the order they did, and the flat slot (list * slots + slot) each
            was written to. A slot may come twice; the later one holds.
        """
        taken, slots = [], []
        for turn in _turns(candidates.lists):
            chosen, slot = self._offer_distinct(candidates.take(turn))
            taken.append(turn[chosen])
            slots.append(slot)
        return torch.cat(taken), torch.cat(slots)

    def _offer_distinct(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Offer candidates of lists that are all different."""
        lists = candidates.lists
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
        scores = self.scores[lists]
        worst = scores.amin(dim=1)
        owners = torch.where(scores == worst[:, None], self.owners[lists], -1)
        self._worst_score[lists] = worst
        self._worst_owner[lists] = owners.amax(dim=1)
        self._worst_slot[lists] = owners.argmax(dim=1)


def _turns(lists: Tensor) -> list[Tensor]:
    """Split indices so that no list comes twice in a turn, earlier candidates of a list in earlier turns."""
    if len(lists) == 0:
        return [torch.zeros(0, dtype=torch.int64, device=lists.device)]
    ordered, order = torch.sort(lists, stable=True)
    first = torch.searchsorted(ordered, ordered)
    turn = torch.arange(len(lists), device=lists.device) - first
    return [order[turn == number] for number in range(int(turn.max()) + 1)]
