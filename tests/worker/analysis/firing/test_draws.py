"""Draws compared with a plain bootstrap over files: per-file counts summed, and the rules in plain loops."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import cached_property
from math import erfc, sqrt
from typing import Any

import numpy as np
import pytest

from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.blocks import BLOCKS, block_steps
from keyscope.worker.analysis.draws import drawn_within, spread_about
from keyscope.worker.analysis.firing.analysis import candidates
from keyscope.worker.analysis.firing.blocks import Blocks
from keyscope.worker.analysis.firing.counting import StepCounts, of_layer
from keyscope.worker.analysis.firing.draws import Drawn, draw_languages, draw_layer, draw_tokens, read_draws
from keyscope.worker.analysis.firing.levels import read_levels
from keyscope.worker.analysis.firing.own_tokens import LISTED, listed_tokens, read_own_tokens
from keyscope.worker.analysis.firing.settings import FiringSettings
from keyscope.worker.analysis.intervals import ratio
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.together import read_together
from keyscope.worker.analysis.units import units_of

DRAWS, BUCKETS = 6, 4
SETTINGS = FiringSettings(
    position_buckets=BUCKETS,
    position_information=0.004,
    strong_share=0.1,
    detector_share=0.4,
    least_occurrences=3,
    language_share=0.3,
    language_rate=0.3,
    language_q=0.9,
    identifying_f1=0.7,
)
"""Thresholds at which a random network has some of everything, and how much depends on the files."""


@pytest.fixture(scope="module")
def counted(subject: Subject) -> Mapping[str, Arrays]:
    """The counts of every block."""
    levels = read_levels(subject.connection, subject.manifest, SETTINGS.strong_share)
    found = {}
    for step in block_steps(subject):
        counts = StepCounts(subject, levels, candidates(subject, SETTINGS.candidates), BUCKETS, SETTINGS.seed)
        read_together(subject, [counts], [step.files], lambda _: None)
        found[step.name] = counts.arrays()
    return found


class Plain:
    """The files of one draw, repeated as drawn, and the rules written out."""

    def __init__(self, subject: Subject, counted: Mapping[str, Arrays], times: np.ndarray) -> None:
        self.subject = subject
        self.blocks = [
            (counted[step.name], list(step.files))
            for step, often in zip(block_steps(subject), times, strict=True)
            for _ in range(int(often))
        ]

    def summed(self, name: str, language: int | None = None) -> Any:
        languages = self.subject.store.languages
        return sum(
            arrays[name].astype(np.float64)
            for arrays, files in self.blocks
            if language is None or languages[files[0]] == language
        )

    @cached_property
    def occurrences(self) -> Counter[int]:
        store = self.subject.store
        return Counter(
            int(token) for _, files in self.blocks for file in files for token in store.token_ids[store.tokens_of(file)]
        )

    def dead(self, layer: int) -> float:
        return float(np.mean(self.summed(of_layer("totals", layer))[0] == 0))

    def positional(self, layer: int, level: int, shifted: bool) -> float:
        width = BUCKETS + 1
        part = slice(width, None) if shifted else slice(width)
        fired, tokens = self.summed(of_layer("positions", layer))[level, :, part], self.summed("in_bucket")[part]
        return float(np.mean([information(row, tokens) > SETTINGS.position_information for row in fired]))

    def detects(self, layer: int) -> list[list[set[int]]]:
        """The tokens of every key at every level."""
        chosen = candidates(self.subject, SETTINGS.candidates)[layer]
        fired, totals = self.summed(of_layer("tokens", layer)), self.summed(of_layer("totals", layer))
        found = []
        for level in range(3):
            of_keys = []
            for key, tokens in enumerate(chosen):
                kept = []
                for place, token in enumerate(tokens):
                    n, there = fired[level, key, place], self.occurrences[int(token)]
                    if there >= SETTINGS.least_occurrences and n >= SETTINGS.detector_share * there:
                        kept.append((n, -place, int(token)))
                few = sorted(kept, reverse=True)[: SETTINGS.detected_tokens]
                covered = sum(n for n, _, _ in few)
                enough = covered > 0 and covered >= SETTINGS.detector_share * totals[level, key]
                of_keys.append({token for _, _, token in few} if enough else set())
            found.append(of_keys)
        return found

    def lowers(self, layer: int, dealt: bool) -> list[bool | None]:
        """Whether each key lowers the tokens it fires on most; None for a key without any."""
        model, store = self.subject.model, self.subject.store
        listed = listed_tokens(self.subject, layer, LISTED)
        examples = self.subject.connection.execute(
            'SELECT DISTINCT "index", file_id, start + position FROM (SELECT layer, "index", window_id, position, coefficient '
            "FROM triggers WHERE polarity = 'max' UNION ALL SELECT layer, \"index\", window_id, position, coefficient "
            "FROM samples) JOIN windows USING (window_id) WHERE layer = ? AND coefficient > 0",
            [layer],
        ).fetchall()
        often = Counter(file for _, files in self.blocks for file in files)
        counts: dict[int, Counter[int]] = {}
        for key, file, place in examples:
            token = int(store.token_ids[store.offsets[file] + place])
            if token in listed[key] and often[file]:
                counts.setdefault(key, Counter())[token] += often[file]
        values = model.layers[layer].values.double().numpy()
        values = (values - values.mean(axis=1, keepdims=True)) * model.final_norm.weight.detach().double().numpy()  # type: ignore[operator, union-attr]
        logits = values @ model.unembedding.double().numpy().T
        logits = logits - logits.mean(axis=1, keepdims=True)
        found: list[bool | None] = []
        for key in range(len(listed)):
            tokens = counts.get((key - 1) % len(listed) if dealt else key, Counter())
            first = sorted(tokens, key=lambda token: (-tokens[token], token))[: SETTINGS.detected_tokens]
            found.append(bool(np.mean([logits[key, token] for token in first]) < 0) if first else None)
        return found

    def f1(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """How well each key identifies each language on the files it is picked on and on others, [keys, languages]."""
        of_language = [self.summed(of_layer("means", layer), language) for language in range(2)]
        keys, bins = of_language[0].shape[1:]
        fits, found = np.zeros((2, keys, 2))
        for key in range(keys):
            for language in range(2):
                right, wrong = (of_language[each][:, key] for each in (language, 1 - language))
                rules = [(above, edge) for above in (True, False) for edge in range(bins)]
                tried = [f1_of(right[0], wrong[0], *rule) for rule in rules]
                fits[key, language] = max(tried)
                found[key, language] = f1_of(right[1], wrong[1], *rules[int(np.argmax(tried))])
        return fits, found


def information(fired: np.ndarray, tokens: np.ndarray) -> float:
    """By the definition of Voita et al., less the bias by the cells that occur."""
    n, rate, total, cells = tokens.sum(), fired.sum() / tokens.sum(), 0.0, 0
    for of_bucket, in_bucket in zip(fired, tokens, strict=True):
        for share, whole in ((of_bucket / max(in_bucket, 1), rate), (1 - of_bucket / max(in_bucket, 1), 1 - rate)):
            if in_bucket and share > 0:
                total += in_bucket / n * share * np.log(share / whole)
                cells += 1
    return float(total - (cells - (rate > 0) - (rate < 1) - (tokens > 0).sum() + 1) / (2 * n))


def f1_of(right: np.ndarray, wrong: np.ndarray, above: bool, edge: int) -> float:
    said = slice(edge, None) if above else slice(edge)
    return float(2 * right[said].sum() / max(right[said].sum() + wrong[said].sum() + right.sum(), 1))


@pytest.fixture(scope="module")
def blocks(subject: Subject, counted: Mapping[str, Arrays]) -> Blocks:
    return Blocks(subject, counted, DRAWS, seed=3)


@pytest.fixture
def plain(subject: Subject, counted: Mapping[str, Arrays], blocks: Blocks) -> Callable[[int], Plain]:
    return lambda draw: Plain(subject, counted, blocks.times[draw])


def layer_draws(subject: Subject, blocks: Blocks, layer: int) -> tuple[Drawn, Arrays]:
    own = read_own_tokens(subject, blocks, layer)
    chosen = candidates(subject, SETTINGS.candidates)[layer]
    arrays = draw_layer(blocks, layer, chosen, own, subject.store.language_names, SETTINGS)
    return read_draws(arrays), arrays


def test_every_measure_of_a_draw_equals_that_of_its_files(
    subject: Subject, blocks: Blocks, plain: Callable[[int], Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    # keys are drawn in several parts
    monkeypatch.setattr("keyscope.worker.analysis.firing.blocks._CELLS", DRAWS * 500)
    by_layer = [layer_draws(subject, blocks, layer) for layer in range(3)]
    tokens = draw_tokens([arrays for _, arrays in by_layer], DRAWS, subject.model.facts.vocabulary)
    expected: dict[tuple[str, str, str], list[list[float]]] = {}
    detectors: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros((3, DRAWS)))
    for draw in range(DRAWS):
        files, seen = plain(draw), set[int]()
        for layer in range(3):
            found: dict[tuple[str, str, str], float] = {("dead", "", ""): files.dead(layer)}
            for level, name in enumerate(("positional", "positional_strong")):
                for control in ("", "shifted"):
                    found[name, control, ""] = files.positional(layer, level, bool(control))
            detects = files.detects(layer)
            for name, of_keys in zip(("detectors", "detectors_strong", "detectors_peak"), detects, strict=True):
                found[name, "", ""] = float(np.mean([bool(each) for each in of_keys]))
            detected = set().union(*(each for of_keys in detects for each in of_keys))
            found["tokens", "", ""] = len(detected)
            found["new_tokens", "", ""] = len(detected - seen) / len(detected) if detected else np.nan
            seen |= detected
            for control in ("", "dealt"):
                lowers = files.lowers(layer, bool(control))
                detecting = [any(of_keys[key] for of_keys in detects) for key in range(len(lowers))]
                of_all = [each for each in lowers if each is not None]
                of_detectors = [
                    each for each, is_one in zip(lowers, detecting, strict=True) if each is not None and is_one
                ]
                found["suppressing", control, ""] = float(np.mean(of_all))
                found["suppressing_detectors", control, ""] = float(np.mean(of_detectors)) if of_detectors else np.nan
                detectors["suppressing", control][layer, draw] = len(of_all)
                detectors["suppressing_detectors", control][layer, draw] = len(of_detectors)
            fits, f1 = files.f1(layer)
            found["language_id", "", ""] = float((f1.max(axis=1) >= SETTINGS.identifying_f1).mean())
            language = int(fits.max(axis=0).argmax())
            found["best_f1", "", ""] = float(f1[fits[:, language].argmax(), language])
            for number, name in enumerate(subject.store.language_names):
                found["best_f1", "", name] = float(f1[fits[:, number].argmax(), number])
            for which, value in found.items():
                expected.setdefault(which, [[], [], []])[layer].append(value)
    drawn = {which: np.stack([each[which] for each, _ in by_layer], axis=1) for which in by_layer[0][0]} | dict(tokens)
    assert set(drawn) == set(expected)
    for which, values in expected.items():
        np.testing.assert_allclose(ratio(*drawn[which]), values, rtol=1e-12, err_msg=str(which))
    keys = subject.manifest.model.keys_per_layer
    for name in ("dead", "positional", "detectors", "language_id"):
        assert (drawn[name, "", ""][1] == np.array(keys)[:, None]).all(), name
    for (name, control), counts in detectors.items():
        np.testing.assert_array_equal(drawn[name, control, ""][1], counts)
    # a measure that is the same in all draws would test nothing
    moving = {which for which, values in expected.items() if np.nanstd(values, axis=1).max() > 0}
    assert {measure for measure, _, _ in moving} >= {measure for measure, _, _ in expected} - {"dead"}


def test_keys_specific_to_a_language_are_chosen_anew_in_every_draw(
    subject: Subject, blocks: Blocks, plain: Callable[[int], Plain]
) -> None:
    sizes, names = subject.manifest.model.keys_per_layer, subject.store.language_names
    drawn = read_draws(draw_languages(blocks, sizes, names, SETTINGS))
    for draw in range(DRAWS):
        files, languages = plain(draw), subject.store.languages
        strong = [[], []]  # type: ignore[var-annotated]
        rates: list[tuple[int, np.ndarray]] = []
        for number in range(2):
            tokens = sum(
                int(subject.store.lengths[file])
                for _, of_block in files.blocks
                for file in of_block
                if languages[file] == number
            )
            strong[number] = np.concatenate(
                [files.summed(of_layer("totals", layer), number)[1] / tokens for layer in range(3)]
            )
            of_it = sum(languages[file] == number for _, of_block in files.blocks for file in of_block)
            both = [files.summed(of_layer("rates", layer), number) for layer in range(3)]
            rates.append((int(of_it), np.concatenate(both, axis=1)))
        share = np.array(strong) / np.maximum(np.array(strong).sum(axis=0), 1e-30)
        entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=0)
        allowed = np.array(strong).max(axis=0) > np.quantile(np.array(strong), SETTINGS.language_rate)
        order = [key for key in np.argsort(np.where(allowed, entropy, np.inf), kind="stable") if allowed[key]]
        chosen = set(order[: round(SETTINGS.language_share * len(entropy))])
        p = np.array([welch(*((n, *sums[:, key]) for n, sums in rates)) for key in range(len(entropy))])
        chosen &= set(np.flatnonzero(corrected(p) <= SETTINGS.language_q))
        first = np.cumsum([0, *sizes])
        for layer, size in enumerate(sizes):
            here = [key for key in chosen if first[layer] <= key < first[layer + 1]]
            assert drawn["language", "", ""][:, layer, draw].tolist() == [len(here), size]
            for number, name in enumerate(names):
                belong = sum(int(np.array(strong)[:, key].argmax()) == number for key in here)
                assert drawn["language", "", name][:, layer, draw].tolist() == [belong, size]


def welch(*groups: tuple[int, float, float]) -> float:
    """Analysis of variance of two groups, each of n files with a sum and a sum of squares, against χ² of one degree."""
    n, sums, squares = (np.array(each) for each in zip(*groups, strict=True))
    means = sums / n
    between = (n * (means - sums.sum() / n.sum()) ** 2).sum()
    within = (squares - n * means**2).sum() / (n.sum() - 2)
    return erfc(sqrt(between / within / 2)) if within > 1e-12 * max(squares.sum(), 1e-30) else 1.0


def corrected(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    q = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    found = np.empty_like(p)
    found[order] = np.minimum(q, 1)
    return found


def test_counting_all_files_gives_the_runs_own_list_of_tokens(subject: Subject, blocks: Blocks) -> None:
    for layer in range(3):
        counts = read_own_tokens(subject, blocks, layer).counts.sum(axis=0)
        listed = np.sort(listed_tokens(subject, layer, LISTED), axis=1)
        rows = subject.connection.execute(
            'SELECT "index", token_id, "count" FROM fires_on WHERE layer = ? ORDER BY ALL', [layer]
        ).fetchall()
        found = [
            (key, token, n) for key in range(len(listed)) for token, n in zip(listed[key], counts[key], strict=True)
        ]
        assert [each for each in found if each[1] >= 0] == rows


def test_every_file_is_in_one_block_of_its_language(subject: Subject) -> None:
    steps = block_steps(subject)
    assert sorted(file for step in steps for file in step.files) == list(range(subject.store.n_files))
    for step in steps:
        assert len({int(subject.store.languages[file]) for file in step.files}) == 1
        assert step.tokens == sum(int(subject.store.lengths[file]) for file in step.files)
    units = units_of(subject.store)
    assert len(steps) == min(len(units.parts), BLOCKS)
    blocks = [{int(unit) for unit in units.of_file[list(step.files)]} for step in steps]
    assert sum(map(len, blocks)) == len(units.parts), "no project is in two blocks"


def test_as_many_of_each_stratum_are_drawn_as_there_are() -> None:
    strata = np.array([1, 0, 1, 1, 0, 2])
    times = drawn_within(strata, 300, seed=0)
    for stratum in range(3):
        assert (times[:, strata == stratum].sum(axis=1) == (strata == stratum).sum()).all()
    assert times[:, :5].std(axis=0).min() > 0.5
    assert times[:, 5].std() == 0
    assert times.mean(axis=0) == pytest.approx(1, abs=0.15)


def test_an_interval_is_the_spread_of_the_draws_laid_around_the_estimate() -> None:
    drawn = np.random.default_rng(0).normal(5, 2, (4000, 2))
    drawn[::2, 1] = np.nan
    found = spread_about([1.0, 3.0], drawn, 1, 12)
    assert found.low == pytest.approx([1 - 3.92, 3 - 3.92], abs=0.3)
    assert found.high == pytest.approx([1 + 3.92, 3 + 3.92], abs=0.3)
    assert np.isnan(spread_about([1.0], np.full((20, 1), np.nan), 1, 12).low).all()
    rare = np.zeros((200, 1))
    rare[:2] = 1
    assert spread_about([0.5], rare, 1, 12) == (0.5, 0.49, 0.5, 12)
    assert spread_about([0.5], rare, 2, 12).low == 0.48
