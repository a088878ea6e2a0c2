"""Runs of encoder–decoders store what plain transformers and a plain sort give, in each task."""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from keyscope.contract.contexts import context_coefficients
from keyscope.contract.manifest import Task
from keyscope.contract.runfile import open_run
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.corpus import corpus_folder
from keyscope.worker.precompute.token_store import open_tokens
from keyscope.worker.precompute.windows import Cut, batches, for_task, noise_spans
from tests.worker.precompute.brute_force import Places, assert_same_triggers, expected_triggers, stored_triggers
from tests.worker.precompute.corpora import SETTINGS, run, write_corpus
from tests.worker.t5 import KEYS, KINDS, save_t5

TASKS: tuple[Task, ...] = ("encode", "denoise", "continue")


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a corpus and a run of each task."""
    folder = tmp_path_factory.mktemp("tasks")
    save_t5(folder / "model", request.param)
    write_corpus(folder / "corpus", files=5)
    return folder


@cache
def _run(folder: Path, task: Task) -> Path:
    return run(folder / "model", folder / "corpus", folder / task, SETTINGS.model_copy(update={"task": task}))


def _spans(file: Path, n: int) -> npt.NDArray[np.bool_]:
    """The spans of a file: their places depend on its content alone, which the store has as a number."""
    import hashlib

    return noise_spans(n, np.uint64(int(hashlib.sha256(file.read_bytes()).hexdigest()[:16], 16)))


def _read(folder: Path, task: Task) -> Places:
    """Run each window of each Python file alone through the plain model and keep every coefficient that counts."""
    plain: Any = AutoModelForSeq2SeqLM.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    caught: dict[int, torch.Tensor] = {}
    stack = plain.encoder if task == "encode" else plain.decoder
    for layer, block in enumerate(stack.block):
        keep = lambda _module, args, layer=layer: caught.__setitem__(layer, args[0][0])  # noqa: E731
        block.layer[-1].DenseReluDense.wo.register_forward_pre_hook(keep)
    rows, paths, positions, tokens, windows = [], [], [], [], []
    corpus = folder / "corpus"
    for file in sorted(corpus.rglob("*.py"), key=lambda file: file.relative_to(corpus).as_posix()):
        ids = tokenizer(file.read_text("utf-8"), add_special_tokens=False)["input_ids"]
        spans = _spans(file, len(ids))
        for start in range(0, len(ids), SETTINGS.window):
            part = ids[start : start + SETTINGS.window]
            half = (len(part) + 1) // 2
            chosen = {
                "encode": range(len(part)),
                "denoise": [at for at in range(len(part)) if spans[start + at]],
                "continue": range(half, len(part)),
            }[task]
            source, target, at_column = list(part), [0], {at: at for at in chosen}
            if task != "encode":
                source, sentinel = [], 2
                for at, token in enumerate(part):
                    if at not in chosen:
                        source.append(token)
                        continue
                    if at - 1 not in chosen:
                        source.append(sentinel)
                        target.append(sentinel)
                        sentinel += 1
                    at_column[at] = len(target)
                    target.append(token)
            if not chosen:
                continue
            with torch.no_grad():
                plain(input_ids=torch.tensor([[*source, 1]]), decoder_input_ids=torch.tensor([target]), use_cache=False)
            found = torch.cat([caught[layer] for layer in sorted(caught)], dim=1).numpy()
            rows.append(found[[at_column[at] for at in chosen]])
            paths += [file.relative_to(corpus).as_posix()] * len(chosen)
            positions += [start + at for at in chosen]
            windows += [len(rows)] * len(chosen)
            tokens += [part[at] for at in chosen]
    return Places(np.concatenate(rows), paths, np.array(positions), np.array(tokens), np.array(windows))


@pytest.mark.parametrize("task", TASKS)
def test_every_trigger_list_equals_a_brute_force_sort(folder: Path, task: Task) -> None:
    path = _run(folder, task)
    places = _read(folder, task)
    scales = np.abs(places.coefficients).max(axis=0)
    found = {name: each for name, each in stored_triggers(path).items() if name[2] == "python"}
    assert {polarity for *_, polarity in found} >= {"max"}
    for (layer, index, _, polarity), triggers in found.items():
        column = layer * KEYS + index
        expected = expected_triggers(places, column, SETTINGS.top_k, 1 if polarity == "max" else -1)
        assert_same_triggers(triggers, expected, scales[column], (task, layer, index, polarity))
    assert len(found) == places.coefficients.shape[1] * len({polarity for *_, polarity in found})
    with duckdb.connect(str(path), read_only=True) as connection:
        counted = connection.execute("SELECT DISTINCT n FROM language_statistics WHERE language = 'python'").fetchall()
        stacks = connection.execute("SELECT DISTINCT stack FROM keys").fetchall()
        means = connection.execute(
            "SELECT mean FROM language_statistics WHERE language = 'python' ORDER BY layer, \"index\""
        ).fetchall()
    assert counted == [(len(places.paths),)]
    assert stacks == [("E" if task == "encode" else "D",)]
    np.testing.assert_allclose(np.ravel(means), places.coefficients.mean(axis=0), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_neither_the_order_of_batches_nor_padding_changes_a_coefficient(folder: Path, task: Task) -> None:
    settings = SETTINGS.model_copy(update={"task": task})
    model = load_model(ModelSource(str(folder / "model"), device="cpu")).reading("auto", task)
    store = for_task(open_tokens(corpus_folder(_run(folder, task))), model, settings)

    def everything(files: list[int], size: int) -> dict[tuple[int, int], torch.Tensor]:
        found: dict[tuple[int, int], torch.Tensor] = {}
        for batch in batches(store, files, Cut.of(settings), size, model.facts.bos, model.device):
            seen: dict[int, torch.Tensor] = {}
            keep = lambda layer, c, of=batch, into=seen: into.__setitem__(layer, of.on_windows(c).clone())  # noqa: E731
            with read_coefficients(model, keep):
                batch.run(model)
            for row, window in enumerate(batch.windows):
                layers = [seen[layer][row, : window.length] for layer in sorted(seen)]
                found[window.file, window.start] = torch.cat(layers, dim=1)
        return found

    files = list(range(store.n_files))
    alone, together = everything(files, 1), everything(files[::-1], 7)
    assert alone.keys() == together.keys()
    for window, coefficients in alone.items():
        torch.testing.assert_close(together[window], coefficients, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_windows_say_which_tokens_the_decoder_was_given(folder: Path) -> None:
    with duckdb.connect(str(_run(folder, "denoise")), read_only=True) as connection:
        windows = connection.execute("SELECT token_ids, decoded FROM windows").fetchall()
        (outside,) = connection.execute(
            "SELECT count(*) FROM triggers JOIN windows USING (window_id) WHERE NOT decoded[position + 1]"
        ).fetchone()  # type: ignore[misc]
    assert all(len(token_ids) == len(decoded) for token_ids, decoded in windows)
    assert outside == 0
    with open_run(_run(folder, "denoise")) as connection:
        contexts = connection.execute(
            "SELECT position, context, decoded FROM triggers JOIN windows USING (window_id)"
        ).fetchall()
    for position, context, decoded in contexts:
        stored = context_coefficients(context, 1.0, position, len(decoded))
        near = range(max(0, position - SETTINGS.context), min(len(decoded), position + SETTINGS.context + 1))
        assert [stored[at] is not None for at in near] == [decoded[at] for at in near]
    with duckdb.connect(str(_run(folder, "encode")), read_only=True) as connection:
        assert connection.execute("SELECT DISTINCT decoded FROM windows").fetchall() == [(None,)]


def test_spans_are_15_percent_of_a_file_and_3_tokens_long_on_average() -> None:
    found = [noise_spans(2000, np.uint64(seed)) for seed in range(20)]
    lengths = [
        end - start
        for spans in found
        for start, end in pairwise(np.flatnonzero(np.diff(spans, prepend=False, append=False)).tolist())
        if spans[start]
    ]
    assert [int(spans.sum()) for spans in found] == [300] * 20
    assert np.mean(lengths) == pytest.approx(3, abs=0.01)
    assert np.std(lengths) > 1
    assert not np.array_equal(found[0], found[1])
    assert [int(noise_spans(n, np.uint64(1)).sum()) for n in (0, 1, 2, 3, 7)] == [0, 0, 1, 1, 1]
