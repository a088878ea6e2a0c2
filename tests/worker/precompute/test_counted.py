"""Boilerplate and burn-in are read and not counted: every number equals a plain computation over the tokens that count."""

import random
from pathlib import Path

import numpy as np
import pytest

from keyscope.contract import bins
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.analysis.walk import walk
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import KEYS, LAYERS, save_tiny
from tests.worker.precompute.brute_force import (
    Places,
    assert_same_triggers,
    expected_triggers,
    read_everything,
    stored_triggers,
)
from tests.worker.precompute.corpora import WORDS, run
from tests.worker.precompute.rows import all_rows

SETTINGS = RunSettings(
    window=32, burn_in=8, stride=24, top_k=5, context=4, histogram_every=1, keep_boilerplate=False, bos="eos"
)
HEADER = (
    "# Copyright (c) {year} by the authors of this code\n"
    "#\n"
    "# Nobody may copy this without a word of the people who wrote it, in any form or\n"
    "# language.\n"
)
HEADERS = HEADER.count("\n")
FILES = 12


def write_headed(folder: Path, files: int = FILES, years: int = FILES) -> Path:
    """Files of random code under one header with changing years."""
    draw = random.Random(0)
    for number in range(files):
        lines = [" ".join(draw.choices(WORDS, k=draw.randrange(4, 9))) for _ in range(draw.randrange(1, 12))]
        path = folder / f"file{number:02}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER.format(year=2000 + number % years) + "\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module", params=["codegen", "llama"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Places]:
    folder = tmp_path_factory.mktemp("counted")
    model, corpus = save_tiny(folder / "model", request.param), write_headed(folder / "corpus")
    path = run(model, corpus, folder / "runs", SETTINGS, shard_tokens=500)
    return path, model, read_everything(model, corpus, ".py", 32, burn_in=8, headers=HEADERS, prefix=[0])


def test_triggers_are_those_of_the_tokens_that_count(example: tuple[Path, Path, Places]) -> None:
    path, _model, places = example
    scales = np.abs(places.coefficients).max(axis=0)
    found = stored_triggers(path)
    for (layer, index, _language, polarity), triggers in found.items():
        column = layer * KEYS + index
        expected = expected_triggers(places, column, SETTINGS.top_k, 1 if polarity == "max" else -1)
        assert_same_triggers(triggers, expected, scales[column], (layer, index, polarity))
    assert len(found) == LAYERS * KEYS * (2 if ("min" in {each[3] for each in found}) else 1)


def test_moments_and_histograms_are_those_of_the_tokens_that_count(example: tuple[Path, Path, Places]) -> None:
    path, _model, places = example
    with open_run(path) as connection:
        keys = connection.execute('SELECT n, mean, minimum, maximum FROM keys ORDER BY layer, "index"').fetchall()
        counts = connection.execute('SELECT tokens, windows FROM histograms ORDER BY layer, "index"').fetchall()
        (occurrences,) = connection.execute("SELECT sum(count) FROM tokens").fetchall()[0]
    c = places.coefficients
    expected = np.stack([np.full(c.shape[1], len(c)), c.mean(axis=0), c.min(axis=0), c.max(axis=0)], axis=1)
    np.testing.assert_allclose(np.array(keys, dtype=np.float64), expected, rtol=2e-4, atol=1e-5)
    assert occurrences == len(c)
    largest = np.stack([c[places.windows == window].max(axis=0) for window in np.unique(places.windows)])
    binned = np.stack([np.histogram(column, bins.edges())[0] for column in largest.T])[:, bins.HALF + 1 :]
    stored = np.array([windows for _tokens, windows in counts])
    assert (stored.sum(axis=1) == len(largest)).all()
    assert np.abs(stored[:, bins.HALF + 1 :] - binned).sum() <= 4  # a value on an edge may go to either side
    assert {sum(tokens) for tokens, _windows in counts} == {len(c)}


def test_samples_are_the_largest_coefficients_of_windows_that_count(example: tuple[Path, Path, Places]) -> None:
    path, _model, places = example
    with open_run(path) as connection:
        rows = connection.execute(
            'SELECT layer, "index", path, start + position - 1, coefficient FROM samples '
            "JOIN windows USING (window_id) JOIN files USING (file_id)"
        ).fetchall()
    where = {place: row for row, place in enumerate(zip(places.paths, places.positions.tolist(), strict=True))}
    for layer, index, file, position, coefficient in rows:
        inside = places.windows == places.windows[where[file, position]]
        assert coefficient == pytest.approx(places.coefficients[inside, layer * KEYS + index].max(), rel=1e-4, abs=1e-4)


def test_the_manifest_counts_boilerplate(example: tuple[Path, Path, Places]) -> None:
    path, _model, places = example
    with open_run(path) as connection:
        manifest = read_manifest(connection)
    (counts,) = manifest.corpus.languages
    assert counts.boilerplate == counts.tokens - len(places.positions) > 0
    assert (manifest.model.bos, manifest.settings.bos) == ([0], "eos")


def test_an_analysis_walks_over_the_tokens_that_count(example: tuple[Path, Path, Places]) -> None:
    path, model, places = example
    with open_subject(path, ModelSource(str(model), dtype="float32", device="cpu"), (), Silent()) as subject:
        numbers = np.sort(np.concatenate([at.numbers for _batch, at in walk(subject, range(FILES))]))
        names = subject.store.files().column("path").to_pylist()
        counted = sorted(zip(places.paths, places.positions.tolist(), strict=True))
        found = np.searchsorted(subject.store.offsets, numbers, side="right") - 1
        assert [(names[f], n - subject.store.offsets[f]) for f, n in zip(found, numbers, strict=True)] == counted


def test_batches_and_shards_do_not_change_a_row(tmp_path: Path, example: tuple[Path, Path, Places]) -> None:
    path, model, _places = example
    corpus = write_headed(tmp_path / "corpus")
    again = run(model, corpus, tmp_path / "runs", SETTINGS, shard_tokens=100_000)
    one, other = all_rows(path), all_rows(again)
    assert [row[:5] for row in one["triggers"]] == [row[:5] for row in other["triggers"]]
    assert one["windows"] == other["windows"]


def test_kept_boilerplate_counts_like_other_code(tmp_path: Path) -> None:
    model, corpus = save_tiny(tmp_path / "model", "codegen"), write_headed(tmp_path / "corpus")
    kept = SETTINGS.model_copy(update={"keep_boilerplate": True})
    path = run(model, corpus, tmp_path / "runs", kept)
    with open_run(path) as connection:
        (counts,) = read_manifest(connection).corpus.languages
        (n,) = connection.execute("SELECT min(n) FROM keys").fetchall()[0]
    assert counts.boilerplate is None
    assert n == counts.tokens
