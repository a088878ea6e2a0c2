"""Triggers that equal tokens lead up to are one row, the same as a plain computation groups them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from tests.worker.models import KEYS, LAYERS, save_tiny
from tests.worker.precompute.brute_force import expected_groups, read_everything
from tests.worker.precompute.corpora import run, write_corpus
from tests.worker.precompute.rows import all_rows
from tests.worker.precompute.test_counted import HEADER, write_headed
from tests.worker.precompute.test_counted import SETTINGS as COUNTED

SETTINGS = RunSettings(window=32, top_k=5, context=4, keep_duplicates=True, ungrouped=False)
_ROWS = """
    SELECT t.layer, t."index", t.polarity, t.rank, t.coefficient, f.path, w.start + t.position AS position, t.files,
        t.places
    FROM triggers t JOIN windows w USING (window_id) JOIN files f USING (file_id)
    WHERE t.language = ? ORDER BY t.layer, t."index", t.polarity, t.rank"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("groups") / "corpus", files=14)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("groups") / "model", "llama")


@pytest.mark.parametrize("options", [{}, {"shard_tokens": 100_000}])
def test_groups_equal_those_of_a_plain_sort(tmp_path: Path, model: Path, corpus: Path, options: dict[str, int]) -> None:
    path = run(model, corpus, tmp_path, SETTINGS, **options)
    places = read_everything(model, corpus, ".py", SETTINGS.window)
    scales = np.abs(places.coefficients).max(axis=0)
    with open_run(path) as connection:
        rows = connection.execute(_ROWS, ["python"]).fetchall()
    found: dict[tuple[int, int, str], list[tuple[float, str, int, int, int]]] = {}
    for layer, index, polarity, _rank, coefficient, file, position, files, more in rows:
        found.setdefault((layer, index, polarity), []).append((coefficient, file, position, files, len(more)))
    assert len(found) == LAYERS * KEYS * 2
    grouped = 0
    for (layer, index, polarity), triggers in found.items():
        column = layer * KEYS + index
        expected = expected_groups(places, column, SETTINGS.top_k, 1 if polarity == "max" else -1)
        near = 1e-5 * float(scales[column])
        assert len(triggers) == len(expected)
        for trigger, (coefficient, *_place, files, more) in zip(triggers, expected, strict=True):
            assert trigger[0] == pytest.approx(coefficient, rel=1e-4, abs=near)
            assert (trigger[3], trigger[4]) == (files, len(more)), (layer, index, polarity)
            grouped += files > 1
    assert grouped > 20


def test_no_row_of_a_list_repeats_another(tmp_path: Path, model: Path, corpus: Path) -> None:
    path = run(model, corpus, tmp_path, SETTINGS)
    with open_run(path) as connection:
        repeats = connection.execute(
            "SELECT count(*) FROM (SELECT token_ids[greatest(position::INTEGER - 8, 1):position + 1] AS ending FROM triggers "
            'JOIN windows USING (window_id) GROUP BY layer, "index", language, polarity, ending HAVING count(*) > 1)'
        ).fetchall()
        (most,) = connection.execute("SELECT max(rank) FROM triggers").fetchall()[0]
    assert repeats == [(0,)]
    assert most == SETTINGS.top_k


def test_a_header_of_many_files_takes_one_row_that_says_in_how_many(tmp_path: Path, model: Path) -> None:
    corpus = write_headed(tmp_path / "corpus", files=100, years=1)
    path = run(model, corpus, tmp_path / "runs", SETTINGS.model_copy(update={"top_k": 30}), shard_tokens=4_000)
    with open_run(path) as connection:
        inside = connection.execute(
            'SELECT count(*), max(files), max(n) FROM (SELECT t.files, count(*) OVER (PARTITION BY layer, "index", polarity, line, "column") AS n '
            "FROM triggers t WHERE line < ?)",
            [HEADER.count("\n")],
        ).fetchall()
        places = connection.execute("SELECT places FROM triggers WHERE files = 100 LIMIT 1").fetchall()[0][0]
    ((rows, files, repeats),) = inside
    assert rows > 0
    assert (files, repeats) == (100, 1)
    assert len(places) == 3
    assert len({place["file_id"] for place in places}) == 3


def test_ungrouped_every_file_has_a_row(tmp_path: Path, model: Path, corpus: Path) -> None:
    path = run(model, corpus, tmp_path, SETTINGS.model_copy(update={"ungrouped": True}))
    with open_run(path) as connection:
        assert connection.execute("SELECT DISTINCT files, len(places) FROM triggers").fetchall() == [(1, 0)]
        (least,) = connection.execute(
            'SELECT min(n) FROM (SELECT count(*) n FROM triggers GROUP BY layer, "index", language, polarity)'
        ).fetchall()[0]
    assert least == SETTINGS.top_k


@pytest.mark.slow
def test_two_processes_store_the_same_rows(tmp_path: Path, model: Path) -> None:
    corpus = write_headed(tmp_path / "corpus", files=30)
    settings = COUNTED.model_copy(update={"ungrouped": False})
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # as each of two processes has
    try:
        one = run(model, corpus, tmp_path / "one", settings, shard_tokens=400)
    finally:
        torch.set_num_threads(threads)
    two = run(model, corpus, tmp_path / "two", settings, shard_tokens=400, workers=2)
    assert all_rows(one) == all_rows(two)
