"""Concepts in whose languages all files are held out, as happens in small corpora."""

import numpy as np
import pytest

from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.concepts import analysis as concepts
from keyscope.worker.analysis.concepts.errors import NothingToPickOn
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.precompute.token_store import TokenStore


def hold_out(monkeypatch: pytest.MonkeyPatch, *languages: str) -> None:
    def split(store: TokenStore) -> np.ndarray:
        return np.isin(np.array(store.language_names)[store.languages], languages)

    monkeypatch.setattr(concepts, "split", split)


def test_a_concept_without_a_file_to_pick_on_is_left_out(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_out(monkeypatch, "go")
    analyse(subject, concepts.make({"names": "loops,goroutines"}))
    with open_run(subject.path) as connection:
        assert connection.execute("SELECT name FROM concepts").fetchall() == [("loops",)]


@pytest.mark.parametrize(("held_out", "named"), [(["go"], "goroutines"), (["python", "go"], "loops,goroutines")])
def test_without_a_file_to_pick_on_the_error_names_the_concepts(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, held_out: list[str], named: str
) -> None:
    hold_out(monkeypatch, *held_out)
    with pytest.raises(NothingToPickOn, match=r"goroutines: .* held out"):
        analyse(subject, concepts.make({"names": named}))
