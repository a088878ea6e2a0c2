"""Analyses of a run with boilerplate, burn-in and groups count the tokens that the run counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyscope.contract.concepts import Concept
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.edit.places import Budget, Cells, choose
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.units import PICK, TEST
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import save_tiny
from tests.worker.precompute.corpora import run
from tests.worker.precompute.test_counted import SETTINGS, write_headed

CONCEPT = '{"name": "words", "title": "Words", "patterns": {"python": {"regex": "value|people"}}}'


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp("counted")
    model, corpus = save_tiny(folder / "model", "codegen"), write_headed(folder / "corpus", files=24)
    settings = SETTINGS.model_copy(update={"ungrouped": False})
    path = run(model, corpus, folder / "runs", settings)
    with open_subject(path, ModelSource(str(model), dtype="float32", device="cpu"), (), Silent()) as opened:
        yield opened


def _numbers(path: Path, query: str) -> list[tuple[float, ...]]:
    with open_run(path) as connection:
        return connection.execute(query).fetchall()


def test_positions_are_of_the_tokens_that_count(subject: Subject) -> None:
    analyse(subject, make_analysis("firing", {"draws": "20"}))
    counted = int(subject.store.counted.sum())
    assert 0 < counted < len(subject.store.token_ids)
    assert _numbers(subject.path, "SELECT sum(tokens) FROM firing_buckets") == [(counted,)]


def test_a_concept_has_no_token_in_boilerplate(subject: Subject) -> None:
    analyse(subject, make_analysis("concepts", {"definition": CONCEPT}))
    ((tokens, of_concept),) = _numbers(subject.path, "SELECT sum(tokens), sum(concept_tokens) FROM concept_languages")
    assert 0 < of_concept < tokens < subject.store.counted.sum()  # of the files that keys are picked on


def test_syntax_and_agreement_take_such_a_run(subject: Subject) -> None:
    analyse(subject, make_analysis("syntax", {}))
    analyse(subject, make_analysis("agreement", {"tokens": "0"}))
    assert _numbers(subject.path, "SELECT count(*) FROM syntax_keys") == [(144,)]


@pytest.mark.parametrize("part", [PICK, TEST])
def test_an_edit_measures_predicted_tokens_outside_boilerplate(subject: Subject, part: int) -> None:
    concept = Concept.model_validate_json(CONCEPT)
    chosen = choose(subject, concept, Budget(part, 5_000, 5_000, subject.store.language_names), seed=0)
    cells = Cells(concept, (), subject.store.language_names)
    measured: set[tuple[int, int]] = set()
    for window in (*chosen.with_concept, *chosen.without):
        for _cell, positions in cells.of_window(subject, window, lambda _done: None):
            assert (positions > 0).all()
            here = {(window.file, window.start + int(position)) for position in positions}
            assert not any(subject.store.boilerplate[subject.store.offsets[file] + at] for file, at in here)
            measured |= here
    assert len(measured) > 100
