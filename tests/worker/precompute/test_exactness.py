"""The streaming precompute stores what a plain sort of all coefficients gives."""

import json
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy import stats

from keyscope.contract import bins
from keyscope.contract.manifest import RunSettings
from keyscope.worker.corpus.generated import is_generated
from keyscope.worker.precompute.sampling import DECILES
from tests.worker.models import KEYS, LAYERS, save_tiny
from tests.worker.precompute.brute_force import (
    Places,
    assert_same_triggers,
    expected_triggers,
    read_everything,
    stored_triggers,
)
from tests.worker.precompute.corpora import SETTINGS, run, write_corpus

NANO = Path(__file__).parents[3] / "models" / "codegen-nano"
SUFFIX = {"python": ".py", "go": ".go"}


def _read_languages(model: Path, corpus: Path, settings: RunSettings = SETTINGS) -> dict[str, Places]:
    return {name: read_everything(model, corpus, suffix, settings.window) for name, suffix in SUFFIX.items()}


def _check_triggers(path: Path, read: dict[str, Places], settings: RunSettings = SETTINGS, n_keys: int = KEYS) -> int:
    """Compare all trigger lists of a run with what was read of each language; return their number."""
    found = stored_triggers(path)
    checked = 0
    for language in sorted({language for _layer, _index, language, _polarity in found}):
        places = read[language]
        scales = np.abs(places.coefficients).max(axis=0)
        for (layer, index, of, polarity), triggers in found.items():
            if of != language:
                continue
            column = layer * n_keys + index
            expected = expected_triggers(places, column, settings.top_k, 1 if polarity == "max" else -1)
            assert_same_triggers(triggers, expected, scales[column], (layer, index, language, polarity))
            checked += 1
    return checked


@pytest.mark.parametrize(
    ("kind", "bos", "polarities"),
    [("codegen", False, 1), ("gpt2", True, 1), ("gpt_neox-sequential", False, 1), ("llama", True, 2)],
)
def test_every_trigger_list_equals_a_brute_force_sort(tmp_path: Path, kind: str, bos: bool, polarities: int) -> None:
    model = save_tiny(tmp_path / "model", kind, bos=bos)
    corpus = write_corpus(tmp_path / "corpus")
    path = run(model, corpus, tmp_path / "runs")
    assert _check_triggers(path, _read_languages(model, corpus)) == LAYERS * KEYS * 2 * polarities


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Places]]:
    """A model, a corpus, and every coefficient of each language."""
    folder = tmp_path_factory.mktemp("plain")
    model, corpus = save_tiny(folder / "model", "llama"), write_corpus(folder / "corpus")
    return model, corpus, _read_languages(model, corpus)


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 7}, {"shard_tokens": 1}, {"shard_tokens": 100_000}])
def test_batches_and_shards_do_not_change_the_triggers(
    tmp_path: Path, plain: tuple[Path, Path, dict[str, Places]], options: dict[str, int]
) -> None:
    model, corpus, read = plain
    path = run(model, corpus, tmp_path, **options)
    assert _check_triggers(path, read) == LAYERS * KEYS * 2 * 2


@pytest.mark.slow
def test_codegen_nano_on_real_files_equals_a_brute_force_sort(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    library = Path(json.__file__).parents[1]
    small = [file for file in sorted(library.glob("*.py")) if 500 < file.stat().st_size < 6000]
    chosen = [file for file in small if not is_generated(file.read_text("utf-8"))][:22]
    assert len(chosen) >= 20
    for file in chosen:
        lines = file.read_text("utf-8").splitlines(keepends=True)
        (corpus / file.name).write_text("".join(lines[:40]), "utf-8")
    settings = RunSettings(window=64, stride=64, top_k=10, context=8, keep_duplicates=True)
    path = run(NANO, corpus, tmp_path / "runs", settings, shard_tokens=4_000)
    read = {"python": read_everything(NANO, corpus, ".py", settings.window)}
    assert _check_triggers(path, read, settings, 640) == 8 * 640


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Places]:
    folder = tmp_path_factory.mktemp("exact")
    model = save_tiny(folder / "model", "llama", bos=True)
    corpus = write_corpus(folder / "corpus")
    path = run(model, corpus, folder / "runs")
    return path, read_everything(model, corpus, ".py", SETTINGS.window)


def test_moments_equal_those_of_all_coefficients(example: tuple[Path, Places]) -> None:
    path, places = example
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT n, firing_rate, mean, variance, skewness, kurtosis, minimum, maximum, mean_abs FROM language_statistics "
            "WHERE language = 'python' ORDER BY layer, \"index\""
        ).fetchall()
    stored = np.array(rows, dtype=np.float64)
    c = places.coefficients.astype(np.float64)
    expected = np.stack(
        [
            np.full(c.shape[1], len(c)),
            (c > 0).mean(axis=0),
            c.mean(axis=0),
            c.var(axis=0),
            stats.skew(c),
            stats.kurtosis(c, fisher=False),
            c.min(axis=0),
            c.max(axis=0),
            np.abs(c).mean(axis=0),
        ],
        axis=1,
    )
    np.testing.assert_allclose(stored, expected, rtol=2e-4, atol=1e-6)


def test_contexts_are_the_coefficients_around_the_trigger_and_nan_outside_the_window(
    example: tuple[Path, Places],
) -> None:
    path, places = example
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            'SELECT layer, "index", path, start + position - 1, scale, context, coefficient FROM triggers '
            "JOIN windows USING (window_id) JOIN files USING (file_id) WHERE files.language = 'python'"
        ).fetchall()
    where = {
        (path, position): row for row, (path, position) in enumerate(zip(places.paths, places.positions, strict=True))
    }
    for layer, index, file, position, scale, context, coefficient in rows[::7]:
        row, column = where[file, position], layer * KEYS + index
        got = np.frombuffer(context, dtype="<f2").astype(np.float32) * scale
        for offset, value in enumerate(got, start=-SETTINGS.context):
            other = row + offset
            inside = 0 <= other < len(places.windows) and places.windows[other] == places.windows[row]
            assert np.isnan(value) != inside
            if inside:
                assert value == pytest.approx(places.coefficients[other, column], abs=2e-3 * abs(scale) + 1e-4)
        assert got[SETTINGS.context] == pytest.approx(coefficient, abs=1e-3 * abs(scale))


def test_the_window_histogram_counts_every_windows_largest_coefficient(example: tuple[Path, Places]) -> None:
    path, places = example
    largest = np.stack([places.coefficients[places.windows == w].max(axis=0) for w in np.unique(places.windows)])
    with duckdb.connect(str(path), read_only=True) as connection:
        stored = np.array(
            [
                row[0]
                for row in connection.execute(
                    "SELECT windows FROM histograms WHERE language = 'python' ORDER BY layer, \"index\""
                ).fetchall()
            ]
        )
    expected = np.stack([np.histogram(column, bins.edges())[0] for column in largest.T])
    assert (stored.sum(axis=1) == len(largest)).all()
    assert np.abs(stored - expected).sum() <= 2  # a value on an edge may go to either side


def test_samples_are_real_places_sorted_into_disjoint_bands(example: tuple[Path, Places]) -> None:
    path, places = example
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            'SELECT layer, "index", band, path, start + position - 1, coefficient, quantile FROM samples '
            "JOIN windows USING (window_id) JOIN files USING (file_id) WHERE files.language = 'python'"
        ).fetchall()
    where = {
        (path, position): row for row, (path, position) in enumerate(zip(places.paths, places.positions, strict=True))
    }
    assert {row[2] for row in rows} >= {"random", "0-10", "90-100"}
    seen = set()
    levels: dict[tuple[int, int], dict[int, list[float]]] = {}
    for layer, index, band, file, position, coefficient, quantile in rows:
        row, column = where[file, position], layer * KEYS + index
        in_window = places.coefficients[places.windows == places.windows[row], column]
        assert coefficient == pytest.approx(in_window.max(), rel=1e-4, abs=1e-4)
        if band in DECILES:
            assert coefficient > 0
            assert 0 <= quantile < 1
            levels.setdefault((layer, index), {}).setdefault(DECILES.index(band), []).append(coefficient)
        if band == "silent":
            assert coefficient <= 0
        assert (layer, index, band, file) not in seen
        seen.add((layer, index, band, file))
    for bands in levels.values():
        ordered = [bands[band] for band in sorted(bands)]
        assert all(max(lower) <= min(higher) for lower, higher in pairwise(ordered))


def test_fires_on_counts_tokens_of_stored_places_once(example: tuple[Path, Places]) -> None:
    path, _ = example
    with duckdb.connect(str(path), read_only=True) as connection:
        differing = connection.execute(
            """
            WITH places AS (
                SELECT layer, "index", window_id, position, coefficient FROM triggers WHERE polarity = 'max'
                UNION ALL SELECT layer, "index", window_id, position, coefficient FROM samples
            ), counted AS (
                SELECT layer, "index", token_ids[position + 1] AS token_id, count(DISTINCT (window_id, position)) AS n
                FROM places JOIN windows USING (window_id) WHERE coefficient > 0 GROUP BY ALL
            )
            SELECT count(*) FROM fires_on LEFT JOIN counted USING (layer, "index", token_id)
            WHERE counted.n IS DISTINCT FROM fires_on.count
            """
        ).fetchone()
        (rows,) = connection.execute("SELECT count(*) FROM fires_on").fetchone()
    assert rows > LAYERS * KEYS
    assert differing == (0,)


def test_lines_and_columns_point_at_the_trigger_token(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "codegen")
    corpus = write_corpus(tmp_path / "corpus")
    path = run(model, corpus, tmp_path / "runs")
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT path, triggers.line, triggers.column, bytes FROM triggers JOIN windows USING (window_id) "
            "JOIN files USING (file_id) JOIN tokens ON token_id = token_ids[position + 1] LIMIT 3000"
        ).fetchall()
    for file, line, column, token in rows:
        lines = (corpus / file).read_text("utf-8").split("\n")
        rest = "\n".join([lines[line - 1][column:], *lines[line:]])
        text = token.decode("utf-8", "ignore")
        if text.encode() == token:
            assert rest.startswith(text), (file, line, column, token)
        else:
            assert any(byte in rest[0].encode() for byte in token)
