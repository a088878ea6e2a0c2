"""The papers' procedures against a plain computation of each."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from keyscope.contract.manifest import RunSettings
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker.analysis.subject import open_subject
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.corpus import corpus_folder
from keyscope.worker.precompute.presets import PROCEDURES, PresetUnfit
from keyscope.worker.precompute.verify import verify_run
from keyscope.worker.progress import Silent
from tests.worker.models import KEYS, LAYERS, save_tiny
from tests.worker.precompute.brute_force import assert_same_triggers, read_everything, stored_triggers
from tests.worker.precompute.corpora import SETTINGS, run, write_corpus

PAPER = RunSettings(preset="paper2023", window=40, stride=40, top_k=6, context=4)
GEVA = SETTINGS.model_copy(update={"preset": "geva2021", "top_k": 7})
SUFFIX = {"python": ".py", "go": ".go"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny", "codegen")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), files=10)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory, model: Path, corpus: Path) -> Path:
    return run(model, corpus, tmp_path_factory.mktemp("paper"), PAPER)


def _five_line_windows(model: Path, corpus: Path, suffix: str) -> list[tuple[str, int, torch.Tensor]]:
    """Path, first line and max(0, pre-activation) [tokens, layers * keys] of every window, from plain transformers."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    caught: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(plain.transformer.h):
        block.mlp.fc_in.register_forward_hook(
            lambda _module, _inputs, output, layer=layer: caught.__setitem__(layer, output[0])
        )
    found, seen = [], set()
    for file in sorted(corpus.rglob(f"*{suffix}"), key=lambda file: file.relative_to(corpus).as_posix()):
        text = file.read_text("utf-8")
        if text in seen or len(tokenizer(text)["input_ids"]) < 100:
            continue
        seen.add(text)
        lines = text.splitlines(keepends=True)
        for first in range(max(1, len(lines) - 4)):
            ids = tokenizer("".join(lines[first : first + 5]))["input_ids"][: PAPER.window]
            with torch.no_grad():
                plain(torch.tensor([ids]))
            values = torch.cat([caught[layer] for layer in sorted(caught)], dim=1).relu()
            found.append((file.relative_to(corpus).as_posix(), first + 1, values))
    return found


@pytest.mark.parametrize("language", ["python", "go"])
def test_the_paper_ranks_windows_of_five_lines_before_the_activation(
    paper: Path, model: Path, corpus: Path, language: str
) -> None:
    windows = _five_line_windows(model, corpus, SUFFIX[language])
    largest = torch.stack([values.amax(dim=0) for _path, _line, values in windows]).numpy()
    assert len({path for path, _line, _values in windows}) < len(windows) / 2
    with open_run(paper) as connection:
        rows = connection.execute(
            'SELECT layer, "index", rank, coefficient, path, windows.line FROM triggers JOIN windows USING (window_id) '
            "JOIN files USING (file_id) WHERE triggers.language = ? ORDER BY ALL",
            [language],
        ).fetchall()
    assert len(rows) == LAYERS * KEYS * PAPER.top_k
    for layer, index, rank, coefficient, path, line in rows:
        column = largest[:, layer * KEYS + index]
        assert coefficient == pytest.approx(np.sort(column)[::-1][rank - 1], rel=1e-4, abs=1e-5)
        place = next(n for n, (p, first, _) in enumerate(windows) if (p, first) == (path, line))
        assert coefficient == pytest.approx(column[place], rel=1e-4, abs=1e-5)


def test_a_key_may_hold_neighbouring_windows_of_one_file(paper: Path) -> None:
    with open_run(paper) as connection:
        (most,) = connection.execute(
            "SELECT max(n) FROM (SELECT count(*) n FROM triggers JOIN windows USING (window_id) JOIN files USING (file_id) "
            'GROUP BY layer, "index", path)'
        ).fetchall()[0]
    assert most > 1


def test_the_paper_reads_no_coefficient_below_zero(paper: Path) -> None:
    with open_run(paper) as connection:
        assert connection.execute("SELECT min(minimum) FROM keys").fetchall() == [(0.0,)]


@pytest.mark.parametrize("settings", [PAPER, GEVA])
def test_a_run_of_a_paper_is_verified_by_plain_transformers(
    tmp_path: Path, model: Path, corpus: Path, settings: RunSettings
) -> None:
    path = run(model, corpus, tmp_path, settings)
    with open_run(path) as connection:
        manifest = read_manifest(connection)
    assert manifest.settings.preset == settings.preset
    assert manifest.verification is not None
    assert manifest.verification.passed
    assert verify_run(path, str(model), 40, 3, 1, Silent()).passed


@pytest.mark.parametrize("options", [{}, {"batch": 1}, {"shard_tokens": 1}, {"shard_tokens": 100_000, "batch": 9}])
def test_every_token_competes_where_prefixes_are_the_examples(
    tmp_path: Path, model: Path, corpus: Path, options: dict[str, int]
) -> None:
    found = stored_triggers(run(model, corpus, tmp_path, GEVA, **options))
    several = 0
    for language, suffix in SUFFIX.items():
        places = read_everything(model, corpus, suffix, GEVA.window)
        scales = np.abs(places.coefficients).max(axis=0)
        for (layer, index, of, _polarity), triggers in found.items():
            if of != language:
                continue
            column = layer * KEYS + index
            ranked = sorted(
                zip((-places.coefficients[:, column]).tolist(), places.paths, places.positions.tolist(), strict=True)
            )[: GEVA.top_k]
            expected = [(-negative, path, position) for negative, path, position in ranked]
            assert_same_triggers(triggers, expected, scales[column], (layer, index, language))
            several += len({path for _c, path, _p in triggers}) < len(triggers)
    assert several > LAYERS * KEYS


def test_lines_of_the_paper_end_at_line_feeds_alone() -> None:
    lines = ["a\f\r\n", "b\v\x1c\x85\u2028c\n", "\n", "d\re\n", "f\n", "g"]
    assert list(PROCEDURES["paper2023"].pieces("".join(lines))) == [(1, "".join(lines[:5])), (2, "".join(lines[1:]))]
    assert list(PROCEDURES["paper2023"].pieces("")) == [(1, "")]


def test_the_paper_is_refused_for_gated_layers(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(PresetUnfit, match="--preset strict"):
        run(save_tiny(tmp_path / "model", "llama"), corpus, tmp_path / "runs", PAPER)


def test_the_corpus_of_a_preset_is_gathered_again_as_it_was(tmp_path: Path, model: Path, paper: Path) -> None:
    shutil.copytree(paper.parent, tmp_path / "runs")
    path = tmp_path / "runs" / paper.name
    source = ModelSource(str(model), dtype="float32", device="cpu")
    with open_subject(path, source, (), Silent()) as subject:
        kept = subject.store.token_ids.tolist()
    shutil.rmtree(corpus_folder(path))
    with open_subject(path, source, (), Silent()) as subject:
        assert subject.store.token_ids.tolist() == kept
