"""The rows of an analysis of concepts, from the census, the counts and the stored triggers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.concepts import (
    AUROC_LEVELS,
    CONCEPT_EXAMPLES,
    CONCEPT_KEYS,
    CONCEPT_LANGUAGES,
    CONCEPT_LAYERS,
    CONCEPTS,
    DISTINCT,
    PICKERS,
)
from keyscope.contract.concepts import Concept
from keyscope.contract.twin import TWIN
from keyscope.worker.analysis.analysis import Arrays, Step
from keyscope.worker.analysis.concepts.chance import TAIL, any_hit, benjamini_hochberg, calibrated, log_tail
from keyscope.worker.analysis.concepts.distinct import DistinctHits
from keyscope.worker.analysis.concepts.examples import examples
from keyscope.worker.analysis.concepts.hits import base_rates, read_triggers, token_lines
from keyscope.worker.analysis.concepts.lines import Lines, lines_of, near
from keyscope.worker.analysis.concepts.places import Places
from keyscope.worker.analysis.concepts.scores import Counts, auroc, detection, lots, rank
from keyscope.worker.analysis.concepts.settings import ConceptSettings
from keyscope.worker.analysis.intervals import Interval, share_interval
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.precompute.windows import Cut
from keyscope.worker.rows import Columns, insert

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_DEVIATIONS = 1.96
"""Standard deviations on either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class TriggerScores:
    """Every key's triggers scored for one concept or its shuffled copy; arrays are [keys] unless noted."""

    trials: IntArray
    hits: IntArray
    chance: FloatArray
    chance_low: FloatArray
    """`chance` at the lower ends of the base rates."""
    chance_high: FloatArray
    expected_hits: FloatArray
    """[estimate and ends, keys]"""
    log_p: FloatArray
    log_q: FloatArray
    log_distinct_p: FloatArray
    log_distinct_q: FloatArray
    log_twin_q: FloatArray | None
    """None without a twin."""
    above_random: BoolArray
    significant: BoolArray
    hits_by_file: npt.NDArray[np.int32]
    """[files, layers]"""
    trials_by_file: npt.NDArray[np.int32]


class Causes(NamedTuple):
    """What the keys do to the tokens of a concept, summed over those of the windows that were run back."""

    gifts: FloatArray
    """[keys], coefficient times gradient."""
    gift_sites: int
    predicted: FloatArray
    """[keys], the same in the windows in which keys were masked."""
    masked: FloatArray
    """[keys], log-probability lost by masking the key; NaN for keys that were not masked."""
    masked_sites: int

    @classmethod
    def of(cls, arrays: Arrays) -> "Causes":
        """Read what a step kept."""
        return cls(
            arrays["gifts"],
            int(arrays["gift_sites"]),
            arrays["predicted"],
            arrays["masked"],
            int(arrays["masked_sites"]),
        )

    def columns(self) -> dict[str, FloatArray]:
        """The columns `causal`, `predicted` and `masked`: means per token of the concept."""
        return {
            "causal": _mean(self.gifts, self.gift_sites),
            "predicted": np.where(np.isnan(self.masked), np.nan, _mean(self.predicted, self.masked_sites)),
            "masked": _mean(self.masked, self.masked_sites),
        }


class HitCounts(NamedTuple):
    """Counts of triggers in the files that keys are picked on."""

    hits: IntArray
    """Near a match, [concepts and copies, keys]; never in a language without a pattern."""
    log_distinct_p: FloatArray
    """log of the chance of as many among their distinct tokens, same shape."""
    trials: IntArray
    """All of them, [keys, languages]."""
    hits_by_file: npt.NDArray[np.int32]
    """[concepts and copies, files, layers]"""
    trials_by_file: npt.NDArray[np.int32]
    """[files, layers]"""


class Found:
    """Everything counted by the steps, added up."""

    def __init__(
        self,
        subject: Subject,
        concepts: list[Concept],
        picking: BoolArray,
        settings: ConceptSettings,
        strong: int,
        census: Arrays,
    ) -> None:
        self.subject, self.concepts, self.picking, self.settings = subject, concepts, picking, settings
        self.strong, self.census = strong, census
        self.places = Places.of(census)
        self.store = subject.store
        self.n = len(concepts)
        self.first_keys = subject.model.first_keys
        self.of_concepts: IntArray | None = None
        """[levels, keys, concepts and copies, and concepts at the token before]"""
        self.of_all: dict[str, IntArray] = {}
        """By language, [levels, keys]."""
        self.causes: list[Causes] = []

    def add(self, step: Step, result: Arrays) -> None:
        counts = np.asarray(result["counts"], dtype=np.int64)
        language = self.store.language_names[self.store.languages[step.files[0]]]
        self.of_concepts = counts[..., :-1] + (0 if self.of_concepts is None else self.of_concepts)
        self.of_all[language] = counts[..., -1] + self.of_all.get(language, 0)

    def covered(self, number: int) -> BoolArray:
        """Languages for which a concept, or the original of a copy, has a pattern, [languages]."""
        patterns = self.concepts[number % self.n].patterns
        return np.array([language in patterns for language in self.store.language_names])

    def files(self, number: int) -> BoolArray:
        """Files in these languages, [files]."""
        inside: BoolArray = self.covered(number)[self.store.languages]
        return inside

    def counts(self, number: int, before: bool = False) -> Counts:
        """Tokens above the levels for a concept or a copy, or the tokens before a concept's; in its languages only."""
        chosen = self.files(number) & self.picking
        covered = [name for name, yes in zip(self.store.language_names, self.covered(number), strict=True) if yes]
        assert self.of_concepts is not None
        return Counts(
            of_concept=self.of_concepts[..., number + 2 * self.n * before],
            of_all=np.sum([self.of_all[name] for name in covered if name in self.of_all], axis=0),
            concept_tokens=int(self.census["before" if before else "tokens"][number, chosen].sum()),
            tokens=int(self.store.counted[chosen].sum()),
        )

    def trigger_scores(self) -> Iterator[tuple[Interval, TriggerScores]]:
        """Base rates [languages] and trigger scores of every concept, then of every copy."""
        lines = lines_of(self.store)
        close = [near(lines, self.places.concept(number)) for number in range(2 * self.n)]
        on_lines = token_lines(self.store, lines)
        covered, cut = [self.covered(number) for number in range(2 * self.n)], Cut.of(self.subject.manifest.settings)
        distinct = DistinctHits(self.store, on_lines, close, self.places, covered, cut, self.picking)
        counted = self._count_hits(lines, close, distinct)
        for number in range(2 * self.n):
            found = base_rates(self.subject, on_lines, close[number], self.picking)
            rates = np.stack(found[:3])
            # a language with too few projects for an interval contributes its estimate alone
            rates = np.where(np.isnan(rates), rates[0], rates)
            yield found, self._against_chance(number, counted, rates)

    def _count_hits(self, lines: Lines, close: list[BoolArray], distinct: DistinctHits) -> HitCounts:
        """One pass over the stored triggers, a layer at a time."""
        store, model = self.store, self.subject.manifest.model
        shape = (2 * self.n, store.n_files, model.n_layers)
        hits = np.zeros((2 * self.n, int(self.first_keys[-1])), dtype=np.int64)
        log_distinct_p = np.zeros(hits.shape)
        trials = np.zeros((hits.shape[1], len(store.language_names)), dtype=np.int64)
        hits_by_file, trials_by_file = np.zeros(shape, dtype=np.int32), np.zeros(shape[1:], dtype=np.int32)
        found = read_triggers(self.subject.connection, self.subject.manifest, store, lines, self.picking)
        for layer, triggers in enumerate(found):
            keys = slice(self.first_keys[layer], self.first_keys[layer + 1])
            trials[keys] = triggers.trials(len(store.language_names))
            trials_by_file[:, layer] = np.bincount(triggers.files, minlength=store.n_files)
            for number in range(2 * self.n):
                hit = close[number][triggers.lines]
                hits[number, keys] = np.bincount(triggers.indices[hit], minlength=triggers.keys)
                hits_by_file[number, :, layer] = np.bincount(triggers.files[hit], minlength=store.n_files)
                log_distinct_p[number, keys] = distinct.log_p(number, triggers)
        return HitCounts(hits, log_distinct_p, trials, hits_by_file, trials_by_file)

    def _against_chance(self, number: int, counted: HitCounts, rates: FloatArray) -> TriggerScores:
        covered, hits = self.covered(number), counted.hits[number]
        estimate, low, high = np.nan_to_num(rates[:, covered])
        trials = counted.trials[:, covered]
        # keys with equal numbers of trials share their distribution, and there are few different ones
        cases, which = np.unique(trials, axis=0, return_inverse=True)
        log_p = log_tail(cases, estimate)[which.ravel(), hits]
        log_q = benjamini_hochberg(log_p)
        log_distinct_p = counted.log_distinct_p[number]
        log_distinct_q = benjamini_hochberg(log_distinct_p)
        log_twin_q = None if number >= self.n else self._against_twin(self.concepts[number].part, log_distinct_p)
        alpha = np.log(self.settings.alpha)
        beyond = (log_distinct_q if log_twin_q is None else log_twin_q) <= alpha
        return TriggerScores(
            trials=trials.sum(axis=1),
            hits=hits,
            chance=any_hit(trials, estimate),
            chance_low=any_hit(trials, low),
            chance_high=any_hit(trials, high),
            expected_hits=np.nan_to_num(rates[:, covered]) @ trials.T,
            log_p=log_p,
            significant=beyond & (hits > 0),
            above_random=(log_q <= alpha) & (hits > 0),
            log_q=log_q,
            log_distinct_p=log_distinct_p,
            log_distinct_q=log_distinct_q,
            log_twin_q=log_twin_q,
            hits_by_file=counted.hits_by_file[number],
            trials_by_file=counted.trials_by_file * self.files(number)[:, None],
        )

    def _against_twin(self, part: str, log_p: FloatArray) -> FloatArray | None:
        """log q of every key, its p as the twin's keys of its layer calibrate it; None if the twin lacks the concept."""
        cursor = self.subject.connection.cursor()
        asked = "SELECT layer, distinct_p FROM twin.concept_keys WHERE concept = ? AND distinct_p IS NOT NULL"
        found = cursor.execute(asked, [part]).fetchnumpy()
        if not len(found["layer"]):
            return None
        null = np.log(np.maximum(found["distinct_p"], np.finfo(np.float64).tiny))
        log_twin_p = np.empty(len(log_p))
        for layer, (first, end) in enumerate(pairwise(self.first_keys)):
            log_twin_p[first:end] = calibrated(log_p[first:end], null[found["layer"] == layer], int(end - first))
        return benjamini_hochberg(log_twin_p)


def write_rows(connection: duckdb.DuckDBPyConnection, found: Found) -> None:
    """Write all tables."""
    for number, (rates, scores) in enumerate(found.trigger_scores()):
        counts = found.counts(number)
        areas = auroc(counts)
        insert(connection, CONCEPT_LAYERS, _layer_rows(found, number, scores, areas))
        if number < found.n:
            insert(connection, CONCEPTS, _concept_row(found, number, scores))
            insert(connection, CONCEPT_LANGUAGES, _language_rows(found, number, rates))
            keys = _key_rows(found, number, scores, counts, areas)
            insert(connection, CONCEPT_KEYS, _kept(keys, found.settings.keep))
            _insert_examples(connection, found, number)


def _concept_row(found: Found, number: int, scores: TriggerScores) -> Columns:
    concept, store = found.concepts[number], found.store
    covered, sites = found.files(number), found.census["sites"][number]
    windows = found.census["windows"]
    values: dict[str, object] = {
        "concept": concept.part,
        "name": concept.name,
        "title": concept.title,
        "sha256": concept.sha256,
        "definition": concept.model_dump_json(exclude_none=True),
        "alpha": found.settings.alpha,
        "against": DISTINCT if scores.log_twin_q is None else TWIN,
        "sites": int(sites[found.picking].sum()),
        "held_out_files": int((covered & ~found.picking).sum()),
        "held_out_sites": int(sites[~found.picking].sum()),
        "causal_windows": int((windows[:, 0] == number).sum()),
        "causal_sites": found.causes[number].gift_sites,
        "masked_sites": found.causes[number].masked_sites,
    }
    assert len(sites) == store.n_files
    return {name: np.array([value]) for name, value in values.items()}


def _language_rows(found: Found, number: int, rates: Interval) -> Columns:
    store, covered = found.store, np.flatnonzero(found.covered(number))
    mine = found.places.concept(number)
    matches = np.bincount(mine.files, minlength=store.n_files)
    tokens = found.census["tokens"][number]

    def sums(values: npt.NDArray[np.generic]) -> IntArray:
        return np.array([values[found.picking & (store.languages == code)].sum() for code in covered], dtype=np.int64)

    return {
        "concept": np.array([found.concepts[number].part] * len(covered)),
        "language": np.array([store.language_names[code] for code in covered]),
        "files": sums(np.ones(store.n_files, dtype=np.int64)),
        "files_with": sums(matches > 0),
        "matches": sums(matches),
        "tokens": sums(store.counted),
        "concept_tokens": sums(tokens),
        "base_rate": rates.estimate[covered],
        "base_rate_low": rates.low[covered],
        "base_rate_high": rates.high[covered],
        "projects": rates.projects[covered],
    }


def _key_rows(found: Found, number: int, scores: TriggerScores, counts: Counts, areas: FloatArray) -> Columns:
    keys, before = len(scores.hits), auroc(found.counts(number, before=True))
    lot = lots(keys, found.settings.seed)
    causes = found.causes[number].columns()
    # where masking was tried, what it cost counts
    causal = np.where(np.isnan(causes["masked"]), causes["causal"], causes["masked"])
    everything = np.ones(keys, dtype=bool)
    layers = np.searchsorted(found.first_keys, np.arange(keys), side="right") - 1
    return {
        "concept": np.array([found.concepts[number].part] * keys),
        "layer": layers,
        "index": np.arange(keys) - found.first_keys[layers],
        **detection(counts, found.strong),
        "auroc": areas,
        "auroc_before": before,
        "triggers": scores.trials,
        "hits": scores.hits,
        "chance": scores.chance,
        "p": np.exp(scores.log_p),
        "q": np.exp(scores.log_q),
        "distinct_p": np.exp(scores.log_distinct_p),
        "distinct_q": np.exp(scores.log_distinct_q),
        "twin_q": np.full(keys, np.nan) if scores.log_twin_q is None else np.exp(scores.log_twin_q),
        "significant": scores.significant,
        **causes,
        "rank_any_hit": rank(np.zeros(keys), scores.hits > 0, lot),
        "rank_fdr": rank(-scores.log_p, scores.significant, lot),
        "rank_auroc": rank(areas, everything, lot),
        "rank_auroc_before": rank(before, everything, lot),
        "rank_causal": rank(causal, everything, lot),
    }


def _mean(sums: FloatArray, sites: int) -> FloatArray:
    return sums / sites if sites else np.full(len(sums), np.nan)


def _kept(rows: Columns, keep: int) -> Columns:
    """The keys that at least one picker ranks among its first, and in each layer those that a twin is asked for."""
    ranks = np.stack([rows[f"rank_{picker}"] for picker in PICKERS])
    chosen = (np.nan_to_num(ranks, nan=np.inf) <= keep).any(axis=0)
    for layer in np.unique(rows["layer"]):
        keys = np.flatnonzero(rows["layer"] == layer)
        chosen[keys[np.argsort(rows["distinct_p"][keys], kind="stable")[:TAIL]]] = True
    return {name: column[chosen] for name, column in rows.items()}


def _layer_rows(found: Found, number: int, scores: TriggerScores, areas: FloatArray) -> Columns:
    starts, sizes = found.first_keys[:-1], np.diff(found.first_keys)
    n_layers = len(sizes)

    def by_layer(values: npt.NDArray[np.generic]) -> FloatArray:
        sums: FloatArray = np.add.reduceat(values.astype(np.float64), starts)
        return sums

    # a sum of independent Bernoulli variables; keys share triggers, so the true spread is somewhat wider
    spread = _DEVIATIONS * np.sqrt(by_layer(scores.chance * (1 - scores.chance)))
    with np.errstate(invalid="ignore"):
        chance_share = np.stack([by_layer(hits) for hits in scores.expected_hits]) / by_layer(scores.trials)
    hits, trials = (each[found.picking] for each in (scores.hits_by_file, scores.trials_by_file))
    units = found.subject.units.members(np.flatnonzero(found.picking))
    share = share_interval(hits, trials, units)
    return {
        "concept": np.array([found.concepts[number % found.n].part] * n_layers),
        "control": np.full(n_layers, number >= found.n),
        "layer": np.arange(n_layers),
        "keys": sizes,
        "any_hit": by_layer(scores.hits > 0).astype(np.int64),
        "expected": by_layer(scores.chance),
        "expected_low": np.maximum(by_layer(scores.chance_low) - spread, 0),
        "expected_high": np.minimum(by_layer(scores.chance_high) + spread, sizes),
        "above_random": by_layer(scores.above_random).astype(np.int64),
        "significant": by_layer(scores.significant).astype(np.int64),
        **{f"auroc_{level}": by_layer(areas > level / 100).astype(np.int64) for level in AUROC_LEVELS},
        "triggers": by_layer(scores.trials).astype(np.int64),
        "hit_share": share.estimate,
        "hit_share_low": share.low,
        "hit_share_high": share.high,
        "chance_share": chance_share[0],
        "chance_share_low": chance_share[1],
        "chance_share_high": chance_share[2],
        "files": (trials > 0).sum(axis=0),
        "projects": share.projects,
    }


def _insert_examples(connection: duckdb.DuckDBPyConnection, found: Found, number: int) -> None:
    rows = examples(found.store, found.places.concept(number), found.picking, found.settings.seed)
    if rows:
        part = found.concepts[number].part
        columns = {
            name: np.array([getattr(row, name) for row in rows], dtype=object)
            for name in CONCEPT_EXAMPLES.names
            if name != "concept"
        }
        insert(connection, CONCEPT_EXAMPLES, {"concept": np.array([part] * len(rows)), **columns})
