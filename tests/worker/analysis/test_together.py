"""Analyses that share a forward pass have the rows of each alone, and say what they shared."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keyscope.contract.analyses.files import read_analyses
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.concepts import define
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.analysis import Analysis
from keyscope.worker.analysis.errors import InvalidSetting
from keyscope.worker.analysis.kinds import WITHOUT_SETTINGS, make_analyses, make_analysis
from keyscope.worker.analysis.run import analyse, analyse_together
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.together import LayerRead, Reader, read_together
from keyscope.worker.analysis.units import units_of
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.progress import Silent

CONCEPT = define({"name": "two", "title": "Two", "patterns": {"python": {"regex": "self|import|np"}}})


def both() -> list[Analysis]:
    concepts = {"definition": CONCEPT.model_dump(), "causal_windows": 2, "masked_keys": 2}
    return [make_analysis("firing", {"draws": 20, "gaussian_values": 8}), make_analysis("concepts", concepts)]


def rows_of(run: Path) -> Mapping[str, list[tuple[Any, ...]]]:
    tables = [table.name for kind in ("firing", "concepts") for table in KINDS[kind]]
    with open_run(run) as connection:
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in tables}


def test_rows_are_equal_computed_together_and_alone(subject: Subject, model: CodeModel, tmp_path: Path) -> None:
    other = tmp_path / "alone" / subject.path.name
    shutil.copytree(subject.path.parent, other.parent)
    passes: list[int] = []
    hook = model.layers[0].block.register_forward_hook(lambda _m, inputs, _o: passes.append(inputs[0].shape[0]))
    try:
        analyse_together(subject, both())
        together = len(passes)
        with open_subject(other, model, (), Silent()) as alone:
            for analysis in both():
                analyse(alone, analysis)
    finally:
        hook.remove()
    assert together < len(passes) - together  # fewer forward passes than one after the other
    found, expected = rows_of(subject.path), rows_of(other)
    for name, rows in expected.items():
        assert rows, name
        assert found[name] == rows, name
    with open_run(subject.path) as connection:
        shared = {each.kind: each.shared_with for each in read_analyses(connection)}
    assert shared == {"firing": ["concepts"], "concepts": ["firing"]}


class Seen(Reader):
    """Keeps the sums of the coefficients it reads, and how its files were announced."""

    def __init__(self) -> None:
        self.sums: list[float] = []
        self.files: list[int] = []
        self.ended = 0

    def begin(self, files: Any) -> None:
        self.files += files

    def batch(self, batch: Any, at: Any) -> Any:
        def read(found: LayerRead) -> None:
            assert len(found.counted) == len(at)
            self.sums.append(float(found.counted.double().sum()))

        return read

    def end(self) -> None:
        self.ended += 1

    def arrays(self) -> Mapping[str, np.ndarray]:
        return {"sums": np.array(self.sums)}


def test_a_reader_of_one_part_sees_the_same_whoever_reads_the_others(read_only: Subject) -> None:
    pick = np.flatnonzero(units_of(read_only.store).pick).tolist()
    everything = list(range(read_only.store.n_files))
    alone, beside, whole = Seen(), Seen(), Seen()
    read_together(read_only, [alone], [pick], lambda _done: None)
    told: list[float] = []
    seconds = read_together(read_only, [whole, beside], [everything, pick], told.append)
    assert beside.files == alone.files == pick
    assert beside.sums == alone.sums
    assert sorted(whole.files) == everything
    assert whole.ended == 3  # once for each part, which are small
    assert sum(told) == read_only.store.counted.sum()
    assert seconds[0] > seconds[1] > 0


def test_several_kinds_are_named_with_commas_and_take_no_settings() -> None:
    assert [each.kind for each in make_analyses("all", {})] == list(WITHOUT_SETTINGS)
    assert [each.kind for each in make_analyses("firing, syntax,firing", {})] == ["firing", "syntax"]
    with pytest.raises(InvalidSetting, match="leave out seed, or ask for one kind at a time"):
        make_analyses("firing,syntax", {"seed": 1})
