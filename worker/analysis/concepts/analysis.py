"""The kind `concepts`: a census of the concepts' places, a pass over the files keys are picked on, causal effects, tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.concepts import Concept, InvalidConcept
from keyscope.worker.analysis import walk
from keyscope.worker.analysis.analysis import Analysis, Arrays, Results, Step
from keyscope.worker.analysis.blocks import block_steps
from keyscope.worker.analysis.concepts import census
from keyscope.worker.analysis.concepts.causal import Gifts
from keyscope.worker.analysis.concepts.counting import StrengthCounts
from keyscope.worker.analysis.concepts.levels import SHARES, FloatArray, key_levels
from keyscope.worker.analysis.concepts.masking import masked_losses, to_mask
from keyscope.worker.analysis.concepts.places import Places, tokens_inside
from keyscope.worker.analysis.concepts.rows import Causes, Found, write_rows
from keyscope.worker.analysis.concepts.settings import ConceptSettings
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import Reader
from keyscope.worker.precompute.windows import Batch, Cut, Window, in_batches
from keyscope.worker.progress import Advance

BoolArray = npt.NDArray[np.bool_]
CENSUS = "census"
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
        store, picking = subject.store, subject.units.pick
        steps = [Step(CENSUS, (), 0)]
        for block in block_steps(subject):
            files = [file for file in block.files if picking[file]]
            if files:
                steps.append(Step(block.name, files, int(store.counted[files].sum()), shared=True))
        return [*steps, *(Step(_causal(number), (), 0) for number in range(len(concepts)))]

    def run_step(self, subject: Subject, step: Step, done: Results, advance: Advance) -> Arrays:
        """Take the census, or run a concept's chosen windows back."""
        concepts, store = self.concepts(subject), subject.store
        if step.name != CENSUS:
            return self._causes(subject, done[CENSUS], int(step.name.rpartition("-")[2]), advance)
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
            subject.units.pick,
            cut,
            settings.causal_windows if "next token" not in subject.model.facts.undefined else 0,
            settings.seed,
            advance,
        )

    def reader(self, subject: Subject, step: Step, done: Results) -> Reader:
        """Count the tokens of a block's files above every level."""
        by_layer = self._levels(subject)
        levels = [[each[number] for each in by_layer] for number in range(len(self.shares))]
        return StrengthCounts(subject, Places.of(done[CENSUS]), len(self.concepts(subject)), levels)

    def _levels(self, subject: Subject) -> list[FloatArray]:
        """The levels of every layer, [levels, keys], read once."""
        if self._read is None:
            self._read = key_levels(subject.connection, subject.manifest, self.shares)
            for levels in self._read:
                # a key that fires on fewer tokens than that has a quantile below 0: it fires strongly when it fires
                np.maximum(levels[self.strong :], 0.0, out=levels[self.strong :])
        return self._read

    def _causes(self, subject: Subject, taken: Arrays, number: int, advance: Advance) -> Arrays:
        """What every key contributed to a concept's sites in its chosen windows, and what masking some of them costs.

        Returns:
            `gifts` [keys], of all windows, and `predicted` [keys], of those in which keys are masked; `masked` [keys],
            what that costs, NaN for keys that are not masked; and the sites, `gift_sites` and `masked_sites`.
        """
        settings = self.settings
        windows = census.causal_windows(subject.store, taken, number, Cut.of(subject.manifest.settings))
        masking = windows[: settings.masked_windows]
        mine = Places.of(taken).concept(number)
        at_once = max(1, subject.batch // BACKWARD_SHARE)
        there, elsewhere = Gifts(subject.model), Gifts(subject.model)
        for gifts, some in ((there, masking), (elsewhere, windows[len(masking) :])):
            for batch, at, sites in _with_sites(subject, mine, some, at_once):
                advance(0)
                gifts.add(batch, at, sites)
        every = there.array() + elsewhere.array()
        masked = np.full(len(every), np.nan)
        if there.sites:
            writes = np.maximum(there.largest_writes(), elsewhere.largest_writes())
            chosen = to_mask(every, writes, settings.masked_keys, settings.masked_keys // 2)
            keys = [subject.model.key_at(number) for number in chosen.tolist()]
            lost = [masked_losses(subject, *each, keys, advance) for each in _with_sites(subject, mine, masking, 1)]
            masked[chosen] = np.sum(lost, axis=0)
        return {
            "gifts": every,
            "predicted": there.array(),
            "masked": masked,
            "gift_sites": np.array(there.sites + elsewhere.sites),
            "masked_sites": np.array(there.sites),
        }

    def write(self, subject: Subject, connection: duckdb.DuckDBPyConnection, results: Results) -> None:
        concepts = self.concepts(subject)
        found = Found(subject, concepts, subject.units.pick, self.settings, self.strong, results[CENSUS])
        for step in self.steps(subject):
            if step.shared:
                found.add(step, results[step.name])
        found.causes = [Causes.of(results[_causal(number)]) for number in range(len(concepts))]
        write_rows(connection, found)


def _causal(number: int) -> str:
    """Name of the step that runs the windows of a concept back."""
    return f"causal-{number:03}"


def _with_sites(
    subject: Subject, places: Places, windows: Sequence[Window], at_once: int
) -> Iterator[tuple[Batch, walk.Places, BoolArray]]:
    """The windows in batches, with their tokens and which of these are sites of the concept with those places."""
    model = subject.model
    longest_first = sorted(windows, key=lambda window: (-window.length, window))
    for batch in in_batches(subject.store, longest_first, at_once, model.facts.bos, model.device):
        at = walk.places(subject, batch)
        inside = [tokens_inside(subject.store, places, window.file) for window in batch.windows]
        numbers = at.numbers - subject.store.offsets[at.files]
        sites = np.array([inside[row][number] for row, number in zip(at.rows, numbers, strict=True)], dtype=bool)
        yield batch, at, sites & (at.positions > 0)
