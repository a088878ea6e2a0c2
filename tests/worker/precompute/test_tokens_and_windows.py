"""The tokenised corpus and the windows cut from it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from keyscope.worker.corpus.files import SourceFile
from keyscope.worker.model.vocabulary import token_bytes
from keyscope.worker.precompute.token_store import TokenStore, open_tokens, write_tokens
from keyscope.worker.precompute.windows import Cut, batches, token_noise, window_noise, windows_of
from tests.worker.models import tiny_tokenizer

TEXTS = [
    "def f(x):\n\treturn x\n",
    "# naïve — 数字 🙂\r\nx = 1\r\n",
    "print('<|endoftext|>')",
    "\n\n    a = [1,\n         2]\n" * 9,
    "x",
]


def _file(number: int, text: str) -> SourceFile:
    return SourceFile("python", "made", f"{number}.py", text, hashlib.sha256(text.encode()).hexdigest(), "made")


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    files = [_file(number, text) for number, text in enumerate(TEXTS)]
    write_tokens(tmp_path / "tokens", files, tiny_tokenizer(), lambda _files: None)
    return open_tokens(tmp_path / "tokens")


def test_tokens_decode_to_the_exact_text(store: TokenStore) -> None:
    tokenizer = tiny_tokenizer()
    for file, text in enumerate(TEXTS):
        ids = store.token_ids[store.offsets[file] : store.offsets[file + 1]]
        assert tokenizer.decode(ids.tolist()) == text


def test_tokenising_a_corpus_leaves_the_models_tokenizer_as_it_was(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    text = "print('<|endoftext|>')"
    before = tokenizer.encode(text)

    def files() -> Iterator[SourceFile]:
        for number in range(2):
            yield _file(number, text)
            # as a live request does in between
            assert tokenizer.encode(text) == before

    write_tokens(tmp_path / "tokens", files(), tokenizer, lambda _files: None)
    store = open_tokens(tmp_path / "tokens")
    first, second = (store.token_ids[store.tokens_of(file)].tolist() for file in range(2))
    assert first == second
    assert not tokenizer.backend_tokenizer.encode_special_tokens


def test_text_that_spells_a_special_token_is_no_special_token(store: TokenStore) -> None:
    assert tiny_tokenizer().all_special_ids == [0]
    assert 0 not in store.token_ids


def test_lines_and_columns_count_characters(store: TokenStore) -> None:
    spelled = token_bytes(tiny_tokenizer())
    for file, text in enumerate(TEXTS):
        span = slice(store.offsets[file], store.offsets[file + 1])
        done = b""
        for token, line, column in zip(store.token_ids[span], store.lines[span], store.columns[span], strict=True):
            before = done.decode("utf-8", "ignore")
            assert line == before.count("\n") + 1
            assert column == len(before) - (before.rfind("\n") + 1)
            done += spelled[token]
        assert done.decode() == text


def test_every_token_of_a_file_is_in_exactly_one_window(store: TokenStore) -> None:
    for length in (1, 15, 16, 17, 160):
        covered = [w.start + i for w in windows_of(0, length, Cut(16)) for i in range(w.length)]
        assert covered == list(range(length))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batches_hold_every_window_once_with_its_tokens_behind_the_prefix(store: TokenStore, batch: int) -> None:
    found = list(batches(store, range(store.n_files), Cut(16), batch, prefix=[7], device=torch.device("cpu")))
    expected = [w for file in range(store.n_files) for w in windows_of(file, int(store.lengths[file]), Cut(16))]
    assert sorted(window for each in found for window in each.windows) == sorted(expected)
    for each in found:
        assert len(each.windows) <= batch
        for row, window in zip(each.token_ids.tolist(), each.windows, strict=True):
            start = store.offsets[window.file] + window.start
            assert row[0] == 7
            assert row[1 : 1 + window.length] == store.token_ids[start : start + window.length].tolist()


def test_full_windows_share_no_batch_with_tails(store: TokenStore) -> None:
    for each in batches(store, range(store.n_files), Cut(16), 4, [], torch.device("cpu")):
        if any(window.length == 16 for window in each.windows):
            assert {window.length for window in each.windows} == {16}


def test_random_choices_do_not_depend_on_the_batch(store: TokenStore) -> None:
    windows = [w for file in range(store.n_files) for w in windows_of(file, int(store.lengths[file]), Cut(16))]
    together = window_noise(store, tuple(windows), seed=0)
    alone = np.concatenate([window_noise(store, (window,), seed=0) for window in windows])
    assert (together == alone).all()
    assert len(np.unique(together)) == len(windows)
    assert (token_noise(store, tuple(windows), 16, 0)[3] == token_noise(store, (windows[3],), 16, 0)[0]).all()
    assert (window_noise(store, tuple(windows), seed=1) != together).all()


def test_a_batch_counts_tokens_without_prefix_and_padding(store: TokenStore) -> None:
    total = sum(each.n_tokens for each in batches(store, range(store.n_files), Cut(16), 4, [7], torch.device("cpu")))
    assert total == store.offsets[-1]
