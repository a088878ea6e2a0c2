"""Masking what carries a concept is called selective; masking the same keys of copies with shuffled weights hardly is."""

from collections import Counter
from pathlib import Path

from torch import nn

from keyscope.app.analyses.edits.judging import Judgement, judge
from keyscope.app.queries.edits import list_edits
from keyscope.contract.analyses.edit import MEASURES
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.analysis.edit.conftest import MAIL, computed, planted_model
from tests.worker.planted import shuffled

SETTINGS = {"concept": MAIL.part, "picker": "auroc", "share": 4 / 144, "doses": f"{4 / 144}", "draws": 20}
COPIES = 2


def judged(folder: Path, model: nn.Module) -> dict[str, Judgement]:
    """What is said, by every measure, of masking the keys that were planted."""
    path, run = computed(folder, model)
    with open_subject(run, ModelSource(str(path), device="cpu"), (), Silent()) as subject:
        analyse(subject, make_analysis("edit", SETTINGS))
    with open_run(run) as connection:
        (edit,) = list_edits(connection)
        return {measure: judge(connection, edit, measure) for measure in MEASURES}


def test_masking_the_carriers_is_selective_by_every_measure(tmp_path: Path) -> None:
    for said in judged(tmp_path, planted_model()).values():
        assert said.selective, said.measure


def test_masking_the_same_keys_of_shuffled_copies_is_selective_by_chance_at_most(tmp_path: Path) -> None:
    # with 20 draws every 21st copy harms more than all of them; both would come once in 441 times
    found = Counter[str]()
    for seed in range(COPIES):
        said = judged(tmp_path / str(seed), shuffled(planted_model(), seed))
        found.update(measure for measure, each in said.items() if each.selective)
    assert all(found[measure] <= 1 for measure in MEASURES), found
    assert not found["accuracy"]
