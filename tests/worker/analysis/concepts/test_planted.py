"""Pickers by coefficient and by cause find a concept carried by exactly three keys, and nothing in a shuffled copy.

In either model all other keys are blind to the concept's two tokens; what keys of random weights do is in `test_null`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyscope.contract.concepts import Concept
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import make
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from tests.worker.analysis.concepts.conftest import computed
from tests.worker.models import save, tiny_tokenizer
from tests.worker.planted import blind, plant_concept, quiet_model, shuffled

CARRIERS = [(0, 3), (1, 7), (2, 40)]


def _model(folder: Path, shuffle: bool) -> Path:
    tokens = tiny_tokenizer()
    hash_id, bang_id = (tokens.convert_tokens_to_ids(sign) for sign in "#!")
    model = blind(quiet_model(), [hash_id, bang_id])
    plant_concept(model, CARRIERS, [hash_id, bang_id], bang_id)
    return save(folder, blind(shuffled(model), [hash_id, bang_id]) if shuffle else model)


@pytest.fixture(scope="module", params=[False, True], ids=["planted", "shuffled"])
def analysed(
    request: pytest.FixtureRequest, corpus: Path, concept: Concept, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Subject, bool]]:
    folder = tmp_path_factory.mktemp("concept")
    with computed(_model(folder / "model", request.param), corpus, folder / "runs") as subject:
        analyse(subject, make({"definition": concept.model_dump()}))
        yield subject, request.param


def _ask(subject: Subject, sql: str) -> list[tuple[Any, ...]]:
    with open_run(subject.path) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("picker", ["auroc", "causal"])
def test_every_ranking_picker_puts_the_carriers_first(analysed: tuple[Subject, bool], picker: str) -> None:
    subject, shuffled = analysed
    chosen = _ask(subject, f'SELECT layer, "index" FROM concept_keys WHERE rank_{picker} <= 3 ORDER BY ALL')
    assert (chosen == CARRIERS) is not shuffled


def test_exactly_the_carriers_hit_more_than_random_tokens(analysed: tuple[Subject, bool]) -> None:
    subject, shuffled = analysed
    found = _ask(subject, 'SELECT layer, "index" FROM concept_keys WHERE q <= 0.05 ORDER BY ALL')
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
