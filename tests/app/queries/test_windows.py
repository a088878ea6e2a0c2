"""Windows read from a run file, and what their tokens are as code."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from keyscope.app.queries import Windows, key_triggers, windows
from keyscope.app.runs import Run
from keyscope.contract import code_parts
from keyscope.contract.keys import KeyId
from keyscope.contract.runfile import open_run

KEY = KeyId(0, 1)
OF_FILES = "SELECT window_id, language FROM windows JOIN files USING (file_id)"
BROKEN = ("NULL", "'\\x01'::BLOB", "repeat('\\xFF', len(token_ids))::BLOB")


@pytest.fixture(params=BROKEN)
def without_parts(request: pytest.FixtureRequest, alpha: Run, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A run file that does not say what its tokens are as code, or says what cannot be."""
    path = Path(shutil.copy(alpha.path, tmp_path))
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"UPDATE windows SET parts = {request.param}")
    with open_run(path) as connection:
        yield connection


def test_a_run_file_says_what_each_token_is_as_a_lexer_reads_it(alpha: Run) -> None:
    with alpha.reading() as cursor:
        languages = dict(cursor.execute(OF_FILES).fetchall())
        found = alpha.windows.find(cursor, languages)
    assert any(window.start for window in found.values())
    assert len({part for window in found.values() for part in window.parts or b""}) > 3
    for window_id, window in found.items():
        texts = alpha.vocabulary.decode(window.token_ids)
        assert window.parts == code_parts.parts(texts, languages[window_id], begins_file=window.start == 0)


def test_of_an_older_or_broken_run_only_the_lines_asked_for_are_read_until_more_are_wanted(
    alpha: Run, without_parts: duckdb.DuckDBPyConnection
) -> None:
    read = Windows(alpha.vocabulary)
    (example, *_) = (each for each in key_triggers(without_parts, read, KEY) if len(each.window.token_ids) > 20)
    window, language = example.window, example.language
    few = read.parts(window, language, 2)
    assert 2 <= len(few) < len(window.token_ids)
    assert read.parts(window, language, 1) is few
    with alpha.reading() as cursor:
        stored = alpha.windows.find(cursor, [window.window_id])[window.window_id].parts
    every = read.parts(window, language)
    assert every == stored
    assert read.part(window, language, 5) == every[5]


def test_a_run_of_many_windows_gives_those_asked_for(alpha: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with alpha.reading() as cursor:
        wanted = [window_id for (window_id,) in cursor.execute("SELECT window_id FROM windows LIMIT 3").fetchall()]
        expected = Windows(alpha.vocabulary).find(cursor, wanted)
        monkeypatch.setattr(windows, "READ_AT_ONCE", 0)
        read = Windows(alpha.vocabulary)
        assert read.find(cursor, wanted[:2]) == {each: expected[each] for each in wanted[:2]}
        assert read.find(cursor, wanted) == expected


def test_a_run_of_few_windows_is_read_once(alpha: Run) -> None:
    with alpha.reading() as cursor:
        every = [window_id for (window_id,) in cursor.execute("SELECT window_id FROM windows").fetchall()]
        read = Windows(alpha.vocabulary)
        read.find(cursor, every[:1])
        read.files(cursor)
    # the cursor is closed: nothing more can be read
    assert read.find(cursor, every).keys() == set(every)
