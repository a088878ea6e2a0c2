"""Every picker finds a concept carried by exactly three keys, against the twin; and nothing in a shuffled copy, which has none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyscope.contract.concepts import Concept
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import make
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.twin import analyse_twin, precompute_twin
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.analysis.concepts.conftest import SETTINGS, computed
from tests.worker.models import save, tiny_tokenizer
from tests.worker.planted import blind, plant_concept, quiet_model, shuffled
from tests.worker.precompute.corpora import run

CARRIERS = [(0, 3), (1, 7), (2, 40)]


def _model(folder: Path, shuffle: bool) -> Path:
    tokens = tiny_tokenizer()
    hash_id, bang_id = (tokens.convert_tokens_to_ids(sign) for sign in "#!")
    model = blind(quiet_model(), [hash_id, bang_id])
    plant_concept(model, CARRIERS, [hash_id, bang_id], bang_id)
    return save(folder, shuffled(model) if shuffle else model)


@pytest.fixture(scope="module", params=[False, True], ids=["planted", "shuffled"])
def analysed(
    request: pytest.FixtureRequest, corpus: Path, concept: Concept, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Subject, bool]]:
    folder = tmp_path_factory.mktemp("concept")
    saved = _model(folder / "model", request.param)
    if not request.param:  # keys that go by two tokens are only told from chance by the twin
        path = run(saved, corpus, folder / "runs", SETTINGS, files_per_shard=40, batch=16)
        model = load_model(ModelSource(str(saved), dtype="float32", device="cpu"))
        precompute_twin(path, model, (), Silent(), 16)
        analyse_twin(path, model, make({"definition": concept.model_dump()}), Silent(), 16)
    with computed(saved, corpus, folder / "runs") as subject:
        analyse(subject, make({"definition": concept.model_dump()}))
        yield subject, request.param


def _ask(subject: Subject, sql: str) -> list[tuple[Any, ...]]:
    with open_run(subject.path) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("picker", ["fdr", "auroc", "causal"])
def test_every_ranking_picker_puts_the_carriers_first(analysed: tuple[Subject, bool], picker: str) -> None:
    subject, shuffled = analysed
    chosen = _ask(subject, f'SELECT layer, "index" FROM concept_keys WHERE rank_{picker} <= 3 ORDER BY ALL')
    assert (chosen == CARRIERS) is not shuffled


def test_exactly_the_carriers_are_significant(analysed: tuple[Subject, bool]) -> None:
    subject, shuffled = analysed
    found = _ask(subject, 'SELECT layer, "index" FROM concept_keys WHERE significant ORDER BY ALL')
    assert found == ([] if shuffled else CARRIERS)


def test_any_hit_has_the_carriers_among_others(analysed: tuple[Subject, bool]) -> None:
    subject, shuffled = analysed
    ((hit, expected),) = _ask(subject, "SELECT sum(any_hit), sum(expected) FROM concept_layers WHERE NOT control")
    assert hit > 3
    assert 0.3 * expected < hit < 2 * expected
    if not shuffled:
        found = set(_ask(subject, 'SELECT layer, "index" FROM concept_keys WHERE rank_any_hit IS NOT NULL'))
        assert found >= set(CARRIERS)


def test_a_shuffled_copy_of_the_concept_has_no_significant_key(analysed: tuple[Subject, bool]) -> None:
    subject, _ = analysed
    assert _ask(subject, "SELECT sum(significant), sum(auroc_90) FROM concept_layers WHERE control") == [(0, 0)]
