"""A model with a planted detector, a dead key, a positional key and a key of one language: each is found for what it is."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keyscope.contract.analyses.firing import CENSUS, MEASURES
from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run
from keyscope.worker.analysis.kinds import make_analysis
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from tests.worker.models import save, tiny_model, tiny_tokenizer
from tests.worker.planted import shuffled
from tests.worker.precompute.corpora import run

SETTINGS = RunSettings(window=32, stride=32, top_k=5, context=4, keep_duplicates=True, histogram_every=1)
FILES = 40
DETECTOR, DEAD, POSITIONAL, SPEAKER = 3, 5, 7, 9
LAYER = 1
COMMON = ["def", "self", "in", "for", "return", "i", "np", "(", ")", ":", ",", "+", "x", "y", "0", "1", "add", "print"]
WORDS = {"py": [*COMMON, "#"], "go": [*COMMON, "["]}


def write_files(folder: Path, languages: Mapping[str, list[str]] = WORDS, files: int = FILES) -> Path:
    """Files of two languages; `#` stands in Python's alone."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    for suffix, words in languages.items():
        for number in range(files):
            lines = [" ".join(draw.choices(words, k=6)) for _ in range(draw.randrange(6, 12))]
            (folder / f"file{number}.{suffix}").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def token(text: str) -> int:
    (found,) = tiny_tokenizer().encode(text)
    return int(found)


def quiet() -> nn.Module:
    """A GPT-2 with ReLU in which attention and keys write nothing, positions stand apart from tokens."""
    model = tiny_model("gpt2", activation_function="relu")
    with torch.no_grad():
        embeddings, places = model.transformer.wte.weight, model.transformer.wpe.weight
        apart = torch.zeros(embeddings.shape[1])
        apart[0], apart[1] = 2**-0.5, -(2**-0.5)
        embeddings -= embeddings.mean(dim=1, keepdim=True)
        embeddings -= (embeddings @ apart)[:, None] * apart
        embeddings.copy_(nn.functional.normalize(embeddings, dim=1))
        places.zero_()
        places[: SETTINGS.window // 2] = 0.5 * apart
        for block in model.transformer.h:
            for writes in (block.attn.c_proj, block.mlp.c_proj):
                writes.weight.mul_(1e-3)
                writes.bias.zero_()
            block.ln_2.weight.fill_(1)
            block.ln_2.bias.zero_()
            # other keys hardly see positions: they read what the tokens share
            block.mlp.c_fc.weight -= apart[:, None] * (apart @ block.mlp.c_fc.weight)
    return model


def plant(model: nn.Module) -> nn.Module:
    mlp = model.transformer.h[LAYER].mlp
    embeddings = model.transformer.wte.weight
    apart = nn.functional.normalize(model.transformer.wpe.weight[0], dim=0)
    with torch.no_grad():
        for index, text in ((DETECTOR, "("), (SPEAKER, "#")):
            # of a length of √32 after the norm, at least 5 lies along the token's own embedding
            mlp.c_fc.weight[:, index] = 6 * embeddings[token(text)]
            mlp.c_fc.bias[index] = -6 * 4.2
        mlp.c_fc.weight[:, POSITIONAL] = 4 * apart
        mlp.c_fc.bias[POSITIONAL] = -4
        mlp.c_fc.bias[DEAD] = -1e4
        towards = -model.lm_head.weight[token("(")] * model.transformer.ln_f.weight
        mlp.c_proj.weight[DETECTOR] = 1e-3 * (towards - towards.mean())
    return model


def findings(folder: Path, model: nn.Module) -> Path:
    """The run of a model over the files, analysed."""
    saved = save(folder / "model", model)
    path = run(saved, write_files(folder / "corpus"), folder / "runs", SETTINGS)
    with open_subject(path, ModelSource(str(saved), dtype="float32", device="cpu"), (), Silent()) as subject:
        analyse(subject, make_analysis("firing", {"position_buckets": "8", "language_share": "0.02"}))
    return path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return findings(tmp_path_factory.mktemp("planted"), plant(quiet()))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with all weights of its blocks shuffled and without positions."""
    model = shuffled(plant(quiet()))
    with torch.no_grad():
        model.transformer.wpe.weight.zero_()
    return findings(tmp_path_factory.mktemp("copy"), model)


@pytest.fixture
def keys(planted: Path) -> dict[int, dict[str, Any]]:
    """The rows of the planted layer's keys."""
    return rows_of(planted)


def rows_of(path: Path, layer: int = LAYER) -> dict[int, dict[str, Any]]:
    with open_run(path) as connection:
        query = 'SELECT f.*, dead FROM firing_keys f JOIN keys USING (layer, "index") WHERE layer = ?'
        connection.execute(query, [layer])
        names = [column[0] for column in connection.description]
        return {row[1]: dict(zip(names, row, strict=True)) for row in connection.fetchall()}


def measured(path: Path, measure: str, control: str = "", layer: int = LAYER) -> Any:
    with open_run(path) as connection:
        query = "SELECT estimate FROM firing_layers WHERE measure = ? AND control = ? AND part = '' AND layer = ?"
        return connection.execute(query, [measure, control, layer]).fetchall()[0][0]


def test_a_planted_detector_is_found_with_its_token(planted: Path, keys: dict[int, dict[str, Any]]) -> None:
    assert (keys[DETECTOR]["detected_tokens"], keys[DETECTOR]["detector_level"]) == (1, "fires")
    with open_run(planted) as connection:
        query = "SELECT token_id, occurrences, fired, share FROM firing_detectors WHERE layer = ? AND \"index\" = ? AND level = 'fires'"
        (found,) = connection.execute(query, [LAYER, DETECTOR]).fetchall()
    assert found[0] == token("(")
    assert found[1] == found[2] > 100
    assert found[3] == 1


def test_a_detector_that_lowers_its_token_counts_as_suppressing_it(keys: dict[int, dict[str, Any]]) -> None:
    assert keys[DETECTOR]["own_logit"] < 0


def test_a_dead_key_is_dead_and_nothing_else(planted: Path, keys: dict[int, dict[str, Any]]) -> None:
    dead = keys[DEAD]
    assert dead["dead"]
    assert dead["strong_rate"] == dead["detected_tokens"] == 0
    assert dead["specific_language"] is None
    assert dead["own_logit"] is None
    assert dead["position_information"] == pytest.approx(0, abs=1e-6)
    assert measured(planted, "dead") >= 1 / 48


def test_only_the_positional_key_is_found_and_its_shape_is_right(
    planted: Path, keys: dict[int, dict[str, Any]]
) -> None:
    assert keys[POSITIONAL]["position_information"] > 0.5
    assert keys[POSITIONAL]["position_shape"] == "start"
    assert [index for index, row in keys.items() if row["position_information"] > 0.3] == [POSITIONAL]
    assert measured(planted, "positional", "shifted") == 0


def test_a_key_of_one_language_is_specific_to_it_and_identifies_it(keys: dict[int, dict[str, Any]]) -> None:
    speaker = keys[SPEAKER]
    assert speaker["specific_language"] == speaker["identified_language"] == "python"
    assert speaker["strong_language_entropy"] == 0
    assert speaker["language_q"] < 1e-6
    assert speaker["language_f1"] == 1


def test_a_shuffled_copy_has_none_of_them(copy: Path) -> None:
    keys = rows_of(copy)
    assert all(row["detector_level"] != "fires" for row in keys.values())
    assert all(row["position_information"] < 0.05 for row in keys.values())
    assert keys[SPEAKER]["specific_language"] is None
    assert measured(copy, "positional") == measured(copy, "positional", "shifted") == 0


def test_chance_identifies_no_language(planted: Path) -> None:
    assert measured(planted, "language_id", "drawn") < measured(planted, "language_id")


def test_active_shares_are_the_runs_own(planted: Path) -> None:
    with open_run(planted) as connection:
        for layer, rate, estimate, low, high in connection.execute(
            "SELECT layer, r, estimate, low, high FROM firing_layers "
            "JOIN (SELECT layer, avg(firing_rate) AS r FROM keys GROUP BY layer) USING (layer) "
            "WHERE measure = 'active' AND part = ''"
        ).fetchall():
            assert estimate == pytest.approx(rate, abs=1e-6), layer
            assert low < estimate < high


def test_measures_of_the_corpus_have_intervals_and_a_census_of_weights_has_none(planted: Path) -> None:
    with open_run(planted) as connection:
        rows = connection.execute(
            "SELECT measure, control, part, layer, estimate, low, high FROM firing_layers"
        ).fetchall()
    assert {measure for measure, *_ in rows} == set(MEASURES) - {"cos_up_value"}
    for measure, control, _, layer, estimate, low, high in rows:
        if measure in CENSUS or control in ("drawn", "gaussian"):
            assert low is high is None, (measure, control)
        else:
            assert 0 <= low <= estimate <= high <= (1 if measure != "tokens" else 1000), (measure, control, layer)
    wide = {measure for measure, _, _, _, _, low, high in rows if low is not None and high > low}
    assert wide >= {"active", "detectors_strong", "tokens", "suppressing", "language", "language_id", "best_f1"}


def test_layers_together_are_counted_over_all_their_keys(planted: Path) -> None:
    peaks = "(SELECT DISTINCT layer, \"index\" FROM firing_detectors WHERE level = 'peak')"
    counted = {
        "dead": "count(*) FILTER (dead)",
        "positional": "count(*) FILTER (position_information > 0.05)",
        "detectors_peak": f'count(*) FILTER ((layer, "index") IN (SELECT (layer, "index") FROM {peaks}))',
        "language": "count(*) FILTER (specific_language IS NOT NULL)",
        "prediction": "count(*) FILTER (weight_class = 'prediction')",
    }
    chosen = {"all layers": "true", "lower half": "layer < 1", "upper half": "layer >= 1", "highest third": "layer = 2"}
    with open_run(planted) as connection:
        for measure, expression in counted.items():
            for layers, where in chosen.items():
                query = f'SELECT {expression} / count(*), count(*) FROM firing_keys JOIN keys USING (layer, "index") WHERE {where}'
                (expected,) = connection.execute(query).fetchall()
                (found,) = connection.execute(
                    "SELECT estimate, n, low, high FROM firing_groups "
                    "WHERE measure = ? AND control = '' AND part = '' AND layers = ?",
                    [measure, layers],
                ).fetchall()
                assert found[:2] == pytest.approx(expected), (measure, layers)
                if measure in CENSUS:
                    assert found[2:] == (None, None)
                else:
                    assert found[2] <= found[0] <= found[3], (measure, layers)
        rates = "SELECT avg(firing_rate) FILTER (layer >= 1) FROM keys"
        active = "SELECT estimate FROM firing_groups WHERE measure = 'active' AND part = '' AND layers = 'upper half'"
        assert connection.execute(active).fetchall()[0] == pytest.approx(connection.execute(rates).fetchall()[0])
        best = "SELECT language, arg_max(f1, fitted_f1) FROM firing_languages GROUP BY language"
        highest = "SELECT part, estimate FROM firing_groups WHERE measure = 'best_f1' AND control = '' AND part <> '' AND layers = 'all layers'"
        assert dict(connection.execute(highest).fetchall()) == pytest.approx(dict(connection.execute(best).fetchall()))


def test_one_language_and_few_files_are_analysed_too(tmp_path: Path) -> None:
    for files, intervals in ((2, False), (6, True)):
        folder = tmp_path / str(files)
        corpus = write_files(folder / "corpus", {"py": WORDS["py"]}, files)
        saved = save(folder / "model", plant(quiet()))
        path = run(saved, corpus, folder / "runs", SETTINGS)
        with open_subject(path, ModelSource(str(saved), dtype="float32", device="cpu"), (), Silent()) as subject:
            analyse(subject, make_analysis("firing", {"draws": "20"}))
        with open_run(path) as connection:
            found = dict(
                connection.execute("SELECT measure, low FROM firing_layers WHERE layer = 1 AND control = ''").fetchall()
            )
        assert (found["positional"] is not None) == intervals
        assert (found["dead"] is not None) == intervals
        assert "language" not in found


def test_every_key_has_its_rates_by_language_and_position(planted: Path) -> None:
    with open_run(planted) as connection:
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
            for table in ("firing_keys", "firing_languages", "firing_positions", "firing_buckets")
        }
        assert counts == {"firing_keys": 144, "firing_languages": 288, "firing_positions": 288, "firing_buckets": 9}
        off = connection.execute(
            'SELECT max(abs(r - firing_rate)) FROM keys JOIN (SELECT layer, "index", '
            'sum(rate * tokens) / sum(tokens) AS r FROM (SELECT layer, "index", unnest(rates) AS rate, '
            "unnest(range(len(rates))) AS bucket FROM firing_positions WHERE level = 'fires') "
            'JOIN firing_buckets USING (bucket) GROUP BY ALL) USING (layer, "index")'
        ).fetchall()[0][0]
        assert off < 1e-6
