"""A precompute from the outside: names, resuming, refusing, and never half a file."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from keyscope.contract.code_parts import Part, parts
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.contract.tables import FileExists
from keyscope.contract.token_text import decode
from keyscope.contract.whole import write_whole
from keyscope.worker.locks import InUse, lock_of, locked
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.precompute import leftovers, publish
from keyscope.worker.precompute.corpus import corpus_folder, prepared_corpus
from keyscope.worker.precompute.entries import ContextSpool
from keyscope.worker.precompute.errors import (
    OutOfDeviceMemory,
    OutputUnwritable,
    UnfinishedRun,
    VerificationFailed,
    WindowTooLong,
)
from keyscope.worker.precompute.run import precompute
from keyscope.worker.progress import Silent
from tests.worker.precompute.corpora import SETTINGS, request, run, write_corpus
from tests.worker.precompute.rows import all_rows


def test_equal_requests_give_equal_rows_and_the_same_name(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path
) -> None:
    again = run(model, corpus, tmp_path)
    assert again.name == unbroken.name
    assert all_rows(again) == all_rows(unbroken)


def test_other_settings_give_another_name(tmp_path: Path, model: Path, corpus: Path, unbroken: Path) -> None:
    other = run(model, corpus, tmp_path, SETTINGS.model_copy(update={"top_k": 4}))
    assert other.name != unbroken.name


def test_rows_are_stored_in_their_documented_order(unbroken: Path) -> None:
    rows = all_rows(unbroken)
    for name, n in (("keys", 2), ("language_statistics", 3), ("triggers", 5), ("samples", 5), ("histograms", 3)):
        keys = [row[:n] for row in rows[name]]
        assert keys == sorted(keys), name
        assert len(set(keys)) == len(keys), name


def test_windows_say_what_each_of_their_tokens_is_as_code(unbroken: Path) -> None:
    with open_run(unbroken) as connection:
        tokens = connection.execute('SELECT token_id, "bytes", special FROM tokens').fetchall()
        text_of = {token_id: b"" if special else text for token_id, text, special in tokens}
        windows = connection.execute(
            "SELECT token_ids, language, start, parts FROM windows JOIN files USING (file_id)"
        ).fetchall()
    assert {(language, start > 0) for _, language, start, _ in windows} == {
        (language, later) for language in ("python", "go") for later in (False, True)
    }
    for token_ids, language, start, found in windows:
        texts = decode([text_of[token_id] for token_id in token_ids])
        assert found == parts(texts, language, begins_file=start == 0)
    assert {Part.KEYWORD, Part.CODE} <= {part for *_, found in windows for part in found}


def test_the_manifest_tells_model_corpus_settings_and_the_verification(unbroken: Path) -> None:
    connection = open_run(unbroken)
    manifest = read_manifest(connection)
    connection.close()
    assert manifest.run_id == unbroken.stem
    assert manifest.n_keys == 3 * 48
    assert [each.language for each in manifest.corpus.languages] == ["python", "go"]
    assert all(each.files == 8 and each.tokens > each.files for each in manifest.corpus.languages)
    assert manifest.verification is not None
    assert manifest.verification.passed
    assert manifest.verification.keys == 50
    assert 0 <= manifest.verification.largest_error < 1e-3
    assert "/" not in "".join(manifest.corpus.sources)


def test_a_finished_run_is_not_computed_again(tmp_path: Path, model: Path, corpus: Path) -> None:
    path = run(model, corpus, tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExists, match="already there"):
        run(model, corpus, tmp_path)
    assert run(model, corpus, tmp_path, resume=True) == path
    assert path.read_bytes() == before


def test_resuming_without_earlier_state_starts_fresh(tmp_path: Path, model: Path, corpus: Path, unbroken: Path) -> None:
    path = run(model, corpus, tmp_path, resume=True)
    assert all_rows(path) == all_rows(unbroken)


class _Stopped(BaseException):  # as an interruption is: an error would be told at the end
    pass


def _stop_after(monkeypatch: pytest.MonkeyPatch, forwards: int) -> None:
    """Interrupt a precompute in the middle of a shard."""
    seen = 0
    body = CodeModel.run_body

    def counted(self: CodeModel, *args: object) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen > forwards:
            raise _Stopped
        return body(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(CodeModel, "run_body", counted)


def test_an_interrupted_run_says_so_and_resumes_to_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path, unbroken: Path
) -> None:
    with monkeypatch.context() as patch:
        _stop_after(patch, 9)
        with pytest.raises(_Stopped):
            run(model, corpus, tmp_path)
    assert not list(tmp_path.glob("*.duckdb*"))
    with pytest.raises(UnfinishedRun, match="--resume"):
        run(model, corpus, tmp_path)
    path = run(model, corpus, tmp_path, resume=True)
    assert all_rows(path) == all_rows(unbroken)
    assert list(tmp_path.glob(".work/*/")) == []


def test_a_resumed_run_keeps_the_corpus_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, unbroken: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    with monkeypatch.context() as patch:
        _stop_after(patch, 9)
        with pytest.raises(_Stopped):
            run(model, corpus, tmp_path / "runs")
    (corpus / "part0" / "new.py").write_text("import new\n", "utf-8")
    path = run(model, corpus, tmp_path / "runs", resume=True)
    assert all_rows(path)["files"] == [
        (number, language, "corpus", *rest) for number, language, _, *rest in all_rows(unbroken)["files"]
    ]


def _left_uncleared(monkeypatch: pytest.MonkeyPatch, *arguments: Path) -> Path:
    """A run whose process died between publishing and clearing up."""
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "clear", Mock(side_effect=_Stopped))
        with pytest.raises(_Stopped):
            run(*arguments)
    (path,) = arguments[2].glob("*.duckdb")
    assert (arguments[2] / ".work" / path.stem).is_dir()
    return path


def test_what_a_killed_run_left_after_publishing_is_cleared_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    path = _left_uncleared(monkeypatch, model, corpus, tmp_path)
    (tmp_path / ".work" / f"{path.stem}.lock").touch()
    monkeypatch.setattr("keyscope.worker.precompute.run.prepare_corpus", Mock(side_effect=AssertionError))
    for _ in range(2):
        assert run(model, corpus, tmp_path, resume=True) == path
        assert list((tmp_path / ".work").iterdir()) == []
        assert prepared_corpus(corpus_folder(path)) is not None


def test_what_a_living_process_works_on_is_not_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    path = _left_uncleared(monkeypatch, model, corpus, tmp_path)
    state = tmp_path / ".work" / path.stem
    with locked(state):
        leftovers.sweep(tmp_path)
        assert state.is_dir()
        assert lock_of(state).is_file()
    assert not corpus_folder(path).is_dir()


def test_a_corpus_that_an_unfinished_run_reads_stays_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    path = _left_uncleared(monkeypatch, model, corpus, tmp_path)
    (place,) = (tmp_path / ".work").glob("corpus-*/")
    write_whole(tmp_path / ".work" / "other" / "plan.json", json.dumps({"tokens": f"../{place.name}"}))
    leftovers.sweep(tmp_path)
    assert sorted(each.name for each in (tmp_path / ".work").iterdir()) == sorted([place.name, "other"])
    assert not corpus_folder(path).is_dir()


def test_the_corpus_is_kept_beside_a_run_whose_folder_is_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = run(model, corpus, Path("runs"))
    assert prepared_corpus(corpus_folder(path)) is not None
    assert list((tmp_path / "runs" / ".work").iterdir()) == []


def test_work_in_another_folder_is_cleared_up_there_too(
    tmp_path: Path, model: Path, corpus: Path, unbroken: Path
) -> None:
    path = run(model, corpus, tmp_path / "runs", work=str(tmp_path / "work"), scratch=tmp_path / "scratch")
    assert all_rows(path) == all_rows(unbroken)
    assert prepared_corpus(corpus_folder(path)) is not None
    for folder in ("runs/.work", "work", "scratch"):
        assert list((tmp_path / folder).iterdir()) == [], folder


def test_a_finished_run_takes_the_corpus_that_was_gathered_for_it_again(
    tmp_path: Path, model: Path, corpus: Path
) -> None:
    path = run(model, corpus, tmp_path)
    shutil.rmtree(corpus_folder(path))
    with pytest.raises(FileExists):
        run(model, corpus, tmp_path)
    assert list((tmp_path / ".work").iterdir()) == []
    assert prepared_corpus(corpus_folder(path)) is not None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"layout": 2}'])
def test_a_damaged_plan_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path, content: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("keyscope.worker.precompute.run.run_shards", Mock(side_effect=_Stopped))
        with pytest.raises(_Stopped):
            run(model, corpus, tmp_path)
    (plan,) = tmp_path.glob(".work/*/plan.json")
    plan.write_text(content)
    with pytest.raises(UnfinishedRun, match=r"plan\.json is damaged or of another version: remove .* to start over"):
        run(model, corpus, tmp_path, resume=True)


def test_a_damaged_note_on_the_corpus_has_it_gathered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path, unbroken: Path
) -> None:
    with monkeypatch.context() as patch:
        _stop_after(patch, 9)
        with pytest.raises(_Stopped):
            run(model, corpus, tmp_path)
    (facts,) = tmp_path.glob(".work/*/corpus.json")
    facts.write_text("")
    assert all_rows(run(model, corpus, tmp_path, resume=True)) == all_rows(unbroken)


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_to_the_same_rows(tmp_path: Path, model: Path, corpus: Path) -> None:
    command = [sys.executable, "-m", "tests.worker.precompute.killed", model, corpus, tmp_path, "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4
    (unbroken,), (resumed,) = (list((tmp_path / name).glob("*.duckdb")) for name in ("counted", "killed"))
    assert all_rows(resumed) == all_rows(unbroken)


def test_resuming_from_another_directory_reads_the_corpus_of_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    for number, name in enumerate(("here", "there")):
        write_corpus(tmp_path / name / "src", seed=number)
    monkeypatch.chdir(tmp_path / "here")
    interrupted = Mock(side_effect=KeyboardInterrupt)
    with monkeypatch.context() as patch:
        patch.setattr("keyscope.worker.precompute.run.run_shards", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(model, Path("src"), tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "there")
    found = run(model, Path("src"), tmp_path / "runs", resume=True)
    assert found.name == run(model, tmp_path / "there" / "src", tmp_path / "fresh").name


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path, unbroken: Path
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ContextSpool, "write", full)
        with pytest.raises(OutputUnwritable, match=r"No space left.*--resume"):
            run(model, corpus, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(publish.Publisher, "_write_windows", full)
        with pytest.raises(OutputUnwritable, match="No space left"):
            run(model, corpus, tmp_path, resume=True)
    assert not list(tmp_path.glob("*.duckdb*"))
    assert all_rows(run(model, corpus, tmp_path, resume=True)) == all_rows(unbroken)


def test_an_output_that_is_no_folder_is_one_sentence(tmp_path: Path, model: Path, corpus: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable, match="file"):
        run(model, corpus, tmp_path / "file")


def test_a_window_the_model_cannot_attend_to_is_refused(tmp_path: Path, model: Path, corpus: Path) -> None:
    with pytest.raises(WindowTooLong, match=r"1000.*128"):
        run(model, corpus, tmp_path, SETTINGS.model_copy(update={"window": 1000}))


def test_out_of_device_memory_halves_the_batch_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path, unbroken: Path
) -> None:
    sizes = []
    body = CodeModel.run_body

    def small(self: CodeModel, token_ids: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(len(token_ids))
        output = body(self, token_ids, *rest)  # type: ignore[arg-type]
        if len(token_ids) > 2:
            raise torch.OutOfMemoryError("made up")
        return output

    monkeypatch.setattr(CodeModel, "run_body", small)
    path = run(model, corpus, tmp_path, batch=8)
    assert max(sizes) > 2
    assert max(sizes[-20:]) <= 2
    _assert_close(all_rows(path), all_rows(unbroken))


def test_a_window_that_does_not_fit_alone_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    def never(*_args: object) -> None:
        raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr("keyscope.worker.precompute.executors.runner.read_coefficients", never)
    with pytest.raises(OutOfDeviceMemory, match="one window of 32 tokens"):
        run(model, corpus, tmp_path)


def test_a_result_that_cannot_be_computed_again_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, corpus: Path
) -> None:
    columns = publish.Publisher._example_columns

    def wrong(self: publish.Publisher, *args: object) -> publish.Columns:
        found = columns(self, *args)  # type: ignore[arg-type]
        return found | {"coefficient": np.asarray(found["coefficient"]) + 0.1}

    monkeypatch.setattr(publish.Publisher, "_example_columns", wrong)
    with pytest.raises(VerificationFailed, match=r"differ by up to 0\.1"):
        run(model, corpus, tmp_path)
    assert not list(tmp_path.glob("*.duckdb*"))


def test_two_processes_do_not_work_on_one_run(tmp_path: Path, model: Path, corpus: Path) -> None:
    asked = request(model, corpus, tmp_path)
    seen: list[Exception] = []

    class Nosy(Silent):
        def note(self, text: str) -> None:
            if "keys ×" in text:
                try:
                    precompute(replace(asked, resume=True), Silent())
                except InUse as error:
                    seen.append(error)

    precompute(asked, Nosy())
    assert len(seen) == 1
    assert "another process" in str(seen[0])


def _assert_close(one: dict[str, list[tuple[object, ...]]], other: dict[str, list[tuple[object, ...]]]) -> None:
    """Check that rows are equal except for the last bits of numbers.

    Two samples of one file with almost equal coefficients may swap across the edge of a decile, which holds only one.
    """
    for name, rows in one.items():
        assert abs(len(rows) - len(other[name])) <= (3 if name in ("samples", "fires_on", "windows") else 0), name
    for left, right in zip(one["triggers"], other["triggers"], strict=True):
        assert left[:5] == right[:5]
        assert left[5] == pytest.approx(right[5], rel=1e-4, abs=1e-5)
