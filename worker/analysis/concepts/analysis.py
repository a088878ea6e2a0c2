"""The kind `concepts`: a census of the concepts' places, one pass over the files keys are picked on, the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import torch
from torch import Tensor

from keyscope.contract.concepts import Concept, InvalidConcept
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.concepts import census
from keyscope.worker.analysis.concepts.causal import Gifts
from keyscope.worker.analysis.concepts.levels import SHARES, FloatArray, key_levels
from keyscope.worker.analysis.concepts.places import Places, token_table
from keyscope.worker.analysis.concepts.rows import Found, write_rows
from keyscope.worker.analysis.concepts.settings import ConceptSettings
from keyscope.worker.analysis.features import FeatureCounts
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.analysis.walk import forward, places, walk
from keyscope.worker.precompute.windows import Cut, in_batches
from keyscope.worker.progress import Advance

CENSUS = "census"
MOST_STEPS = 16
FEWEST_FILES = 32
"""Fewest files per step: every step keeps its counts on disk, so there should not be many."""
BACKWARD_SHARE = 8
"""Factor by which the batch is smaller for backward passes, which keep all activations of the forward pass."""


def make(settings: Mapping[str, Any]) -> Analysis:
    """Build the analysis with these settings; a user's own concept is a part of its own."""
    chosen = ConceptSettings.model_validate(settings)
    return ConceptAnalysis(chosen, chosen.concept or None)


class ConceptAnalysis(Analysis):
    """Which keys detect the concepts asked for."""

    kind = "concepts"
    settings: ConceptSettings

    def __init__(self, settings: ConceptSettings, part: str | None = None) -> None:
        super().__init__(settings, part)
        self._read: list[FloatArray] | None = None

    def concepts(self, subject: Subject) -> list[Concept]:
        """The requested concepts with a pattern for a language of the run.

        Raises:
            InvalidConcept: no concept has such a pattern.
        """
        languages = subject.store.language_names
        asked = self.settings.concepts
        usable = [each for each in asked if any(language in each.patterns for language in languages)]
        if not usable:
            known = ", ".join(dict.fromkeys(language for each in asked for language in each.patterns))
            raise InvalidConcept(
                f"{', '.join(each.name for each in asked)}: there are patterns for {known} only, and the run "
                f"{subject.path.stem} has {', '.join(languages)}: add a pattern for one of them"
            )
        return usable

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of tokens above the levels, descending, with that of firing strongly among them.

        Rounded, so a quantile such as 0.99 meets the share 0.01 in spite of 1 - 0.99 != 0.01 in binary.
        """
        return tuple(sorted({*SHARES, round(1 - self.settings.quantile, 12)}, reverse=True))

    @property
    def strong(self) -> int:
        """Index of the level of firing strongly."""
        return self.shares.index(round(1 - self.settings.quantile, 12))

    def steps(self, subject: Subject) -> Sequence[Step]:
        """The census, then the files that are not held out, several per step, each step in one language."""
        concepts, languages = self.concepts(subject), subject.store.language_names
        with subject.progress.stage("checking the patterns", None, "patterns") as advance:
            subject.matching.check(concepts, languages, advance)
        store, picking = subject.store, units_of(subject.store).pick
        size = max(FEWEST_FILES, -(-int(picking.sum()) // MOST_STEPS))
        steps = [Step(CENSUS, (), 0)]
        for code, language in enumerate(store.language_names):
            members = np.flatnonzero(picking & (store.languages == code))
            for start in range(0, len(members), size):
                files = members[start : start + size]
                name = f"{language}-{start // size:03}"
                steps.append(Step(name, files.tolist(), int(store.counted[files].sum())))
        return steps

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Take the census, or count a step's files and run their chosen windows back."""
        concepts, store = self.concepts(subject), subject.store
        if step.name == CENSUS:
            cut, settings = Cut.of(subject.manifest.settings), self.settings
            left_out = [each.name for each in settings.concepts if each not in concepts]
            if left_out:
                subject.progress.note(
                    f"leaving out {', '.join(left_out)}: there are no patterns for the languages of the run"
                )
            return census.take(
                subject.matching,
                store,
                concepts,
                units_of(store).pick,
                cut,
                settings.causal_windows,
                settings.seed,
                advance,
            )
        taken = done[CENSUS]
        files = range(min(step.files), max(step.files) + 1)
        table = token_table(store, Places.of(taken), 2 * len(concepts), files)
        base = int(store.offsets[files.start])
        counts = self._count(subject, step, table, base, advance)
        return {"counts": counts, **self._run_back(subject, step, taken, table, base, advance)}

    def _levels(self, subject: Subject) -> list[FloatArray]:
        """The levels of every layer, [levels, keys], read once."""
        if self._read is None:
            self._read = key_levels(subject.connection, subject.manifest, self.shares)
            for levels in self._read:
                # a key that fires on fewer tokens than that has a quantile below 0: it fires strongly when it fires
                np.maximum(levels[self.strong :], 0.0, out=levels[self.strong :])
        return self._read

    def _count(
        self, subject: Subject, step: Step, table: census.BoolArray, base: int, advance: Advance
    ) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Tokens above every level, [levels, keys, features]: concepts, their copies, and all tokens last."""
        folded, device = subject.manifest.model.gated, subject.model.device
        by_layer = self._levels(subject)
        by_level = [[levels[number] for levels in by_layer] for number in range(len(self.shares))]
        counts = FeatureCounts(subject.model, table.shape[1] + 1, by_level)
        for batch, at in walk(subject, step.files):
            marked = np.ones((len(at), table.shape[1] + 1), dtype=np.float32)
            marked[:, :-1] = table[at.numbers - base]
            features = torch.from_numpy(marked).to(device)

            def add(layer: int, found: Tensor, features: Tensor = features) -> None:
                counts.add(layer, found.abs() if folded else found, features)

            forward(subject.model, batch, at, add)
            advance(batch.n_tokens)
        return counts.arrays().astype(np.int32)

    def _run_back(
        self, subject: Subject, step: Step, taken: Arrays, table: census.BoolArray, base: int, advance: Advance
    ) -> Arrays:
        """What every key contributed to the sites in the step's chosen windows, [concepts, keys]; and the sites."""
        cut, facts, store = Cut.of(subject.manifest.settings), subject.model.facts, subject.store
        n_concepts = table.shape[1] // 2
        sums = np.zeros((n_concepts, sum(facts.keys_per_layer)))
        sites = np.zeros(n_concepts, dtype=np.int64)
        for number in range(n_concepts):
            gifts = Gifts(subject.model)
            windows = census.causal_windows(store, taken, number, step.files, cut)
            at_once = max(1, subject.batch // BACKWARD_SHARE)
            for batch in in_batches(store, windows, at_once, facts.bos, subject.model.device):
                at = places(subject, batch)
                gifts.add(batch, at, table[at.numbers - base, number] & (at.positions > 0))
                advance(0)
            sums[number], sites[number] = gifts.array(), gifts.sites
        return {"gifts": sums, "gift_sites": sites}

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        concepts = self.concepts(subject)
        found = Found(subject, concepts, units_of(subject.store).pick, self.settings, self.strong, results[CENSUS])
        for step in self.steps(subject)[1:]:
            found.add(step, results[step.name])
        write_rows(connection, found)
