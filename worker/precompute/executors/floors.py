"""The floors that shards complete so far give to later ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyscope.worker.precompute.executors.runner import Floors
from keyscope.worker.precompute.groups import pool_size
from keyscope.worker.precompute.partial import Partial, score_files
from keyscope.worker.precompute.plan import Plan, Shard
from keyscope.worker.precompute.work import Result, Work


class BestScores:
    """The best scores of each key over the complete shards of a language, from which later shards get their floors.

    Floors only omit what the merge would drop, so rows do not depend on which shards were complete when.
    """

    def __init__(self, names: Sequence[str], plan: Plan) -> None:
        """Start without any.

        Args:
            names: the polarities.
            plan: the run's.
        """
        self._names = names
        self._keys = plan.n_keys
        self._k = pool_size(plan.settings)
        self._best: dict[tuple[str, str], Tensor] = {}

    def add(self, language: str, scores: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Take a shard's scores into account, [keys, k] in any order by polarity."""
        for name in self._names:
            table = torch.from_numpy(np.array(scores[name]))
            kept = self._best.get((language, name))
            both = table if kept is None else torch.cat([kept, table], dim=1)
            self._best[language, name] = both.topk(self._k, dim=1).values

    def add_stored(self, shard: Shard, result: Result, work: Work, scratch: Path) -> None:
        """Take a shard into account that an earlier attempt has computed."""
        with work.files(result, score_files(self._names), scratch) as folder:
            partial = Partial(folder)
            self.add(shard.language, {name: partial.scores(name, self._keys, self._k) for name in self._names})

    def floors(self, language: str) -> Floors:
        """The lowest of each key's best scores; -inf while its pool is not full."""
        none = torch.full((self._keys, 1), -torch.inf)
        return {name: self._best.get((language, name), none)[:, -1].numpy() for name in self._names}
