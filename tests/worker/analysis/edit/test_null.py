"""Masking a concept's carriers counts as selective; masking the same keys in shuffled copies hardly ever does."""

from collections import Counter
from pathlib import Path

import pytest

from keyscope.app.analyses.edits.judging import Judgement, judge
from keyscope.app.queries.edits import list_edits
from keyscope.contract.analyses import intervals
from keyscope.contract.analyses.edit import MEASURES
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.analysis.edit.conftest import MAIL, computed, planted_model
from tests.worker.planted import shuffled

SETTINGS = {
    "concept": MAIL.part,
    "picker": "auroc",
    "share": 4 / 144,
    "doses": f"{4 / 144}",
    "draws": 20,
    "tokens": 4000,
}
COPIES = 2


@pytest.fixture(autouse=True)
def verdicts_on_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus that is quickly measured is too small for verdicts otherwise."""
    monkeypatch.setattr(intervals, "FEWEST_FILES", 3)


def judged(subject: Subject) -> dict[str, Judgement]:
    """The verdict, by every measure, on masking the keys that were planted."""
    analyse(subject, make_analysis("edit", SETTINGS))
    with open_run(subject.path) as connection:
        (edit,) = list_edits(connection)
        return {measure: judge(connection, edit, measure) for measure in MEASURES}


def test_masking_the_carriers_is_selective_by_every_measure(subject: Subject) -> None:
    for verdict in judged(subject).values():
        assert verdict.selective, verdict.measure


def test_masking_the_same_keys_of_shuffled_copies_is_selective_by_chance_at_most(tmp_path: Path) -> None:
    # with 20 draws, one copy in 21 does more harm than all of them by chance; both copies do once in 441 times
    found = Counter[str]()
    for seed in range(COPIES):
        path, run = computed(tmp_path / str(seed), shuffled(planted_model(), seed))
        with open_subject(run, ModelSource(str(path), device="cpu"), (), Silent()) as copy:
            found.update(measure for measure, verdict in judged(copy).items() if verdict.selective)
    assert all(found[measure] <= 1 for measure in MEASURES), found
    assert not found["accuracy"]
