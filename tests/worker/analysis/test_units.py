"""Which files belong together, and which part of the corpus each unit is in."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from keyscope.worker.analysis.units import SHARES, Units, units_of
from keyscope.worker.corpus.files import SourceFile
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from tests.worker.models import tiny_tokenizer


def store(folder: Path, files: Sequence[tuple[str, str]], language: str = "python") -> TokenStore:
    """A corpus of files, each the name of its project and its text."""
    sources = [
        SourceFile(language, "made", f"{n}.py", text, hashlib.sha256(text.encode()).hexdigest(), project)
        for n, (project, text) in enumerate(files)
    ]
    write_tokens(folder, sources, tiny_tokenizer(), lambda _n: None)
    return open_tokens(folder)


def files_of(projects: int, each: int = 4) -> list[tuple[str, str]]:
    return [(f"project-{n}", f"value = {n * each + k}\n" * (1 + n % 5)) for n in range(projects) for k in range(each)]


def shares(store: TokenStore, units: Units) -> list[float]:
    return [float(store.lengths[part].sum() / store.lengths.sum()) for part in (units.pick, units.tune, units.test)]


def test_a_project_is_one_unit_and_lies_in_one_part(tmp_path: Path) -> None:
    found = store(tmp_path, files_of(12))
    units = units_of(found)
    assert units.are_projects.all()
    assert len(units.parts) == 12
    for project in range(12):
        inside = found.projects == project
        assert len(np.unique(units.of_file[inside])) == 1
        assert (
            len({(bool(units.pick[f]), bool(units.tune[f]), bool(units.test[f])) for f in np.flatnonzero(inside)}) == 1
        )


def test_every_file_is_in_exactly_one_part(tmp_path: Path) -> None:
    units = units_of(store(tmp_path, files_of(7)))
    assert (units.pick.astype(int) + units.tune + units.test == 1).all()


def test_parts_have_their_shares_of_the_tokens(tmp_path: Path) -> None:
    found = store(tmp_path, files_of(40))
    assert shares(found, units_of(found)) == pytest.approx(SHARES, abs=0.05)


def test_no_part_is_empty_however_uneven_the_projects_are(tmp_path: Path) -> None:
    found = store(tmp_path, [("large", "value = 1\n" * 500), ("a", "value = 2\n"), ("b", "value = 3\n")])
    assert min(shares(found, units_of(found))) > 0


def test_parts_do_not_depend_on_the_order_of_files_or_on_other_languages(tmp_path: Path) -> None:
    files = files_of(9)
    first = units_of(store(tmp_path / "a", files))
    again = units_of(store(tmp_path / "b", files[::-1]))
    assert first.test.tolist() == again.test[::-1].tolist()
    assert first.tune.tolist() == again.tune[::-1].tolist()


@pytest.mark.parametrize("projects", [1, 2])
def test_where_there_are_too_few_projects_each_file_is_a_unit(tmp_path: Path, projects: int) -> None:
    found = store(tmp_path, files_of(projects, each=60))
    units = units_of(found)
    assert not units.are_projects.any()
    assert len(units.parts) == found.n_files
    assert shares(found, units) == pytest.approx(SHARES, abs=0.05)


def test_a_corpus_that_knows_no_projects_is_split_by_file(tmp_path: Path) -> None:
    found = store(tmp_path, files_of(12))
    table = pq.read_table(tmp_path / "files.parquet")
    pq.write_table(table.drop_columns(["project"]), tmp_path / "files.parquet")
    old = open_tokens(tmp_path)
    assert old.project_names == ("",)
    assert len(units_of(old).parts) == found.n_files
