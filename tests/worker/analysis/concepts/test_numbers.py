"""Every number in the tables compared with plain coefficients, plain text and plain loops."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from keyscope.contract.concepts import Concept, define
from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import make
from keyscope.worker.analysis.concepts.analysis import ConceptAnalysis
from keyscope.worker.analysis.concepts.chance import any_hit, log_tail
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import mask_coefficients, read_coefficients
from keyscope.worker.progress import Silent
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run, write_corpus

WINDOW = 32
CONCEPT = define(
    {"name": "two", "title": "Two", "patterns": {"python": {"regex": r"self|np\.z"}, "go": {"regex": "数字|range"}}}
)


@pytest.fixture(scope="module", params=["codegen", "llama"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A model with plain layers, and one with gated ones and a BOS, analysed."""
    folder = tmp_path_factory.mktemp("numbers")
    model = save_tiny(folder / "model", request.param, bos=request.param == "llama")
    path = run(model, write_corpus(folder / "corpus"), folder / "runs")
    with open_subject(path, ModelSource(str(model), dtype="float32", device="cpu"), (), Silent()) as opened:
        analyse(opened, make({"definition": CONCEPT.model_dump(), "quantile": "0.9"}))
        yield opened


@pytest.fixture(scope="module")
def table(subject: Subject) -> dict[tuple[int, int], dict[str, Any]]:
    with open_run(subject.path) as connection:
        found = connection.execute("SELECT * FROM concept_keys")
        names = [column[0] for column in found.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {(row["layer"], row["index"]): row for row in rows}


@pytest.fixture(scope="module")
def plain(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths at the tokens keys are picked on, [tokens, keys], which belong to the concept, and which come before it."""
    strengths, marks, before = [], [], []
    for file in np.flatnonzero(units_of(subject.store).pick):
        ids = subject.store.token_ids[subject.store.tokens_of(file)].astype(np.int64)
        for start in range(0, len(ids), WINDOW):
            layers: list[torch.Tensor] = []
            bos = subject.model.facts.bos
            row = torch.tensor([[*bos, *ids[start : start + WINDOW]]])
            with torch.inference_mode(), read_coefficients(subject.model, lambda _l, c, to=layers: to.append(c[0])):
                subject.model.run_body(row)
            found = torch.cat(layers, dim=1)[len(bos) :].numpy()
            strengths.append(np.abs(found) if subject.model.facts.gated else found)
        marks.append(_mark(subject, file))
        before.append(np.append(marks[-1][1:], False))
    return np.concatenate(strengths), np.concatenate(marks), np.concatenate(before)


def _matches(subject: Subject, file: int) -> list[tuple[int, int]]:
    language = subject.store.language_names[subject.store.languages[file]]
    pattern = (CONCEPT.patterns[language].regex or "").encode()
    return [match.span() for match in re.finditer(pattern, subject.store.text(file))]


def _mark(subject: Subject, file: int) -> np.ndarray:
    starts = subject.store.starts[subject.store.tokens_of(file)].astype(int)
    ends = [*starts[1:], len(subject.store.text(file))]
    spans = _matches(subject, file)
    return np.array([any(a < e and b > s for a, b in spans) for s, e in zip(starts, ends, strict=True)])


def _is_near(subject: Subject, file: int, line: int) -> bool:
    lines = [subject.store.text(file)[:at].count(b"\n") + 1 for at, _ in _matches(subject, file)]
    return any(abs(line - each) <= 2 for each in lines)


def test_counts_and_scores_equal_those_of_plain_coefficients(
    subject: Subject, table: dict[tuple[int, int], dict[str, Any]], plain: tuple[np.ndarray, ...]
) -> None:
    strengths, mark, _ = plain
    analysis = make({"definition": CONCEPT.model_dump(), "quantile": 0.9})
    assert isinstance(analysis, ConceptAnalysis)
    levels = np.concatenate([each[analysis.strong] for each in analysis._levels(subject)])
    assert len(table) == strengths.shape[1]
    for number, row in enumerate(table[key] for key in sorted(table)):
        over = strengths[:, number] > levels[number]
        assert row["strong"] == pytest.approx(over.sum(), abs=1)
        assert row["strong_on_concept"] == pytest.approx((over & mark).sum(), abs=1)
        if row["strong"] == over.sum() and row["strong_on_concept"] == (over & mark).sum() and over.any():
            precision, recall = mark[over].mean(), over[mark].mean()
            assert row["precision"] == pytest.approx(precision)
            assert row["recall"] == pytest.approx(recall)
            assert row["lift"] == pytest.approx(precision / mark.mean(), rel=1e-5)
            assert row["f1"] == pytest.approx(2 * (over & mark).sum() / (over.sum() + mark.sum()))
            a, b, c, d = ((x & y).sum() + 0.5 for x in (mark, ~mark) for y in (over, ~over))
            odds = np.log(a * d / (b * c))
            assert row["log_odds_z"] == pytest.approx(odds / np.sqrt(1 / a + 1 / b + 1 / c + 1 / d), rel=1e-4)


def test_the_level_of_firing_strongly_leaves_about_its_share_above(
    subject: Subject, plain: tuple[np.ndarray, ...]
) -> None:
    analysis = make({"definition": CONCEPT.model_dump(), "quantile": 0.9})
    assert isinstance(analysis, ConceptAnalysis)
    levels = np.concatenate([each[analysis.strong] for each in analysis._levels(subject)])
    shares = (plain[0] > levels).mean(axis=0)
    assert (levels >= 0).all()
    # levels come from a sample of one token in eight, and tokens count as spread evenly within a bin
    assert np.median(shares) == pytest.approx(0.1, abs=0.03)


def test_the_area_is_the_chance_that_a_token_of_the_concept_has_the_higher_coefficient(
    subject: Subject, table: dict[tuple[int, int], dict[str, Any]], plain: tuple[np.ndarray, ...]
) -> None:
    strengths, mark, before = plain
    analysis = make({"definition": CONCEPT.model_dump(), "quantile": 0.9})
    assert isinstance(analysis, ConceptAnalysis)
    levels = np.concatenate(analysis._levels(subject), axis=1)
    for number, row in enumerate(table[key] for key in sorted(table)):
        bins = (strengths[:, number] > levels[:, number, None]).sum(axis=0)
        for column, chosen in (("auroc", mark), ("auroc_before", before)):
            of, off = bins[chosen][:, None], bins[~chosen][None]
            assert row[column] == pytest.approx((of > off).mean() + (of == off).mean() / 2, abs=2e-3)


def test_hits_and_their_chance_equal_those_counted_in_the_text(
    subject: Subject, table: dict[tuple[int, int], dict[str, Any]]
) -> None:
    store, picking = subject.store, units_of(subject.store).pick
    rates = []
    for code in range(len(store.language_names)):
        near = [
            _is_near(subject, file, line)
            for file in np.flatnonzero(picking & (store.languages == code))
            for line in store.lines[store.tokens_of(file)].tolist()
        ]
        rates.append(np.mean(near))
    with open_run(subject.path) as connection:
        stored = dict(connection.execute("SELECT language, base_rate FROM concept_languages").fetchall())
        shares = connection.execute(
            "SELECT layer, hit_share, chance_share FROM concept_layers WHERE NOT control ORDER BY layer"
        ).fetchall()
        triggers = connection.execute(
            'SELECT layer, "index", file_id, t.line FROM triggers t JOIN windows USING (window_id)'
        ).fetchall()
    assert [stored[name] for name in store.language_names] == pytest.approx(rates)
    trials = {key: [0, 0] for key in table}
    hits = dict.fromkeys(table, 0)
    for layer, index, file, line in triggers:
        if picking[file]:
            trials[layer, index][store.languages[file]] += 1
            hits[layer, index] += _is_near(subject, file, line)
    for layer, hit_share, chance_share in shares:
        n = sum(sum(trials[key]) for key in trials if key[0] == layer)
        assert hit_share == pytest.approx(sum(hits[key] for key in hits if key[0] == layer) / n)
        assert chance_share == pytest.approx(sum(np.dot(trials[key], rates) for key in trials if key[0] == layer) / n)
    for key, row in table.items():
        assert (row["triggers"], row["hits"]) == (sum(trials[key]), hits[key])
        assert row["chance"] == pytest.approx(any_hit([trials[key]], rates)[0], rel=1e-5)
        assert row["p"] == pytest.approx(np.exp(log_tail([trials[key]], rates)[0, hits[key]]))


@pytest.mark.parametrize("key", [(0, 5), (1, 17), (2, 40)])
def test_a_keys_contribution_is_the_slope_of_masking_it(
    subject: Subject, table: dict[tuple[int, int], dict[str, Any]], key: tuple[int, int]
) -> None:
    store, picking = subject.store, units_of(subject.store).pick
    bos = subject.model.facts.bos

    def total(factor: float) -> tuple[float, int]:
        logprob, sites = 0.0, 0
        for file in np.flatnonzero(picking):
            ids, mark = store.token_ids[store.tokens_of(file)].astype(np.int64), _mark(subject, file)
            for start in range(0, len(ids), WINDOW):
                row = torch.tensor([[*bos, *ids[start : start + WINDOW]]])
                with torch.inference_mode(), mask_coefficients(subject.model, [[Mask(KeyId(*key), Scale(factor))]]):
                    logprobs = subject.model.logits(row)[0].double().log_softmax(dim=1)
                for at in np.flatnonzero(mark[start : start + WINDOW]):
                    if at > 0:
                        logprob += float(logprobs[at + len(bos) - 1, row[0, at + len(bos)]])
                        sites += 1
        return logprob, sites

    with open_run(subject.path) as connection:
        ((windows, counted),) = connection.execute("SELECT causal_windows, causal_sites FROM concepts").fetchall()
    (above, sites), (below, _) = total(1.01), total(0.99)
    assert windows < 32  # fewer than asked for, so all of them were run back
    assert counted == sites
    assert table[key]["causal"] == pytest.approx((above - below) / 0.02 / sites, rel=0.05, abs=2e-4)


def test_an_interrupted_analysis_resumes_to_the_same_rows(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    path = subject.path.with_suffix(".analysis") / f"concepts.{CONCEPT.part}.duckdb"
    with open_run(subject.path) as connection:
        before = connection.execute("SELECT * FROM concept_keys ORDER BY ALL").fetchall()
    path.unlink()
    settings = {"definition": CONCEPT.model_dump_json(), "quantile": 0.9}
    run_step, ran = ConceptAnalysis.run_step, []

    def stop(self: ConceptAnalysis, given: Subject, step: Any, *rest: Any) -> Any:
        if len(ran) == 1:
            raise KeyboardInterrupt
        ran.append(step.name)
        return run_step(self, given, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ConceptAnalysis, "run_step", stop)
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, make(settings))
    assert not path.exists()
    analyse(subject, make(settings))
    with open_run(subject.path) as connection:
        assert connection.execute("SELECT * FROM concept_keys ORDER BY ALL").fetchall() == before


def test_a_concept_without_a_pattern_for_the_run_is_refused(subject: Subject) -> None:
    other = define({"name": "other", "title": "Other", "patterns": {"java": {"regex": "a"}}})
    with pytest.raises(ValueError, match=r"patterns for java only, and the run .* has python, go"):
        analyse(subject, make({"definition": other.model_dump()}))


def test_settings_come_as_strings_and_name_what_they_decide() -> None:
    analysis = make({"names": "numpy, loops", "quantile": "0.98"})
    assert [name.rpartition("-")[0] for name in analysis.settings.model_dump()["definitions"]] == ["numpy", "loops"]
    assert analysis.part is None
    own: Concept = CONCEPT
    assert make({"concept": own.name, "definition": own.model_dump_json()}).part == own.part
    with pytest.raises(ValueError, match="nothing is not shipped: choose from numpy"):
        make({"names": "nothing"})
    with pytest.raises(ValueError, match="mine needs its definition"):
        make({"concept": "mine"})
    with pytest.raises(ValueError, match=f"of {own.part}, not of mine"):
        make({"concept": "mine", "definition": own.model_dump()})
