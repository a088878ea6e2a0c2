"""The measures of a layer's keys: how concentrated their triggers are, how local, how varied."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import FAMILIES, LAYER_MEASURES, ROLES
from keyscope.worker.analysis.intervals import ratio
from keyscope.worker.analysis.syntax.concentration import Groups

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
MEASURES = tuple(LAYER_MEASURES)
HALF = 0.5
"""Share of a key's triggers in one family from which the key counts for it."""
_FAMILY_OF_ROLE = np.array(
    [next((place for place, roles in enumerate(FAMILIES.values()) if role in roles), len(FAMILIES)) for role in ROLES]
)


@dataclass(frozen=True)
class Mutated:
    """Triggers run again: their key, their file, and the relative change with each kind of token dropped."""

    key: IntArray
    file: IntArray
    last: FloatArray
    first: FloatArray
    random: FloatArray


@dataclass(frozen=True)
class Measured:
    """The triggers of a layer's keys, grouped so that they can be measured under any weights of files."""

    keys: int
    file: IntArray
    """[triggers]"""
    ngrams: tuple[Groups, Groups, Groups]
    """Trigger tokens alone, and with one and two tokens before them."""
    families: Groups
    """Families of the trigger tokens' roles."""
    mutated: Mutated

    def by_key(self, weights: FloatArray | None = None) -> dict[str, FloatArray]:
        """Every measure of each key, [keys]; NaN for a key with nothing to measure.

        Args:
            weights: weights of the files, [files]; without them every file counts once.
        """
        of_file = None if weights is None else weights[self.file]
        tokens, bigrams, trigrams = self.ngrams
        masses = tokens.masses(of_file)
        totals = tokens.totals(masses)
        with np.errstate(invalid="ignore", divide="ignore"):
            # n triggers on n different tokens have entropy ln n; one trigger has no entropy to normalise
            largest = np.where(totals > 1, np.log(totals), np.nan)
        found = {
            "token_share": tokens.top_share(masses),
            "bigram_share": bigrams.top_share(bigrams.masses(of_file)),
            "trigram_share": trigrams.top_share(trigrams.masses(of_file)),
            "entropy": tokens.entropy(masses) / largest,
        }
        for name in ("last", "first", "random"):
            found[f"drop_{name}"] = self._mean_change(getattr(self.mutated, name), weights)
        found["score"] = score(found["token_share"], found["bigram_share"], found["entropy"], found["drop_last"])
        return found | self._families(of_file)

    def without_last_effect(self) -> "Measured":
        """The same with the effect of a random token in place of the last one's: the control for locality."""
        return replace(self, mutated=replace(self.mutated, last=self.mutated.random))

    def _mean_change(self, change: FloatArray, weights: FloatArray | None) -> FloatArray:
        mutated, there = self.mutated, ~np.isnan(change)
        of_file = np.ones(there.sum()) if weights is None else weights[mutated.file[there]]
        key = mutated.key[there]
        return ratio(np.bincount(key, of_file * change[there], self.keys), np.bincount(key, of_file, self.keys))

    def _families(self, of_file: FloatArray | None) -> dict[str, FloatArray]:
        masses = self.families.masses(of_file)
        totals = self.families.totals(masses)
        shares = {}
        for place, name in enumerate(FAMILIES):
            of_family = masses * (self.families.code == place)
            share = ratio(np.bincount(self.families.key, of_family, self.keys), totals)
            shares[name] = np.where(np.isnan(share), np.nan, share >= HALF)
        return shares


def score(token_share: FloatArray, bigram_share: FloatArray, entropy: FloatArray, drop_last: FloatArray) -> FloatArray:
    """How varied the triggers of keys are, from 0 to 1: the mean of three parts, each from 0 to 1.

    Spread: the share of triggers not on the commonest token, averaged with that not on the commonest bigram. Entropy:
    of the trigger tokens, over its maximum. Locality: the part of the coefficient that remains without the trigger
    token; a coefficient that grows counts as 1. The score is our own; its locality comes from the
    mutations of Geva et al. 2021, section 3.2.
    """
    spread = 1 - (token_share + bigram_share) / 2
    left = 1 + np.clip(drop_last, -1, 0)
    return np.asarray((spread + entropy + left) / 3, dtype=np.float64)


def family(role: IntArray) -> IntArray:
    """The family of each role, as an index into FAMILIES; `len(FAMILIES)` for roles in none."""
    return np.asarray(_FAMILY_OF_ROLE[role], dtype=np.int64)


def layer_means(by_key: Mapping[str, FloatArray]) -> FloatArray:
    """Mean of every measure over the keys that have it, [measures] in the order of MEASURES."""
    return np.array([_mean(by_key[name]) for name in MEASURES])


def _mean(values: FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
