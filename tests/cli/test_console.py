import io
import json

import pytest
from rich.console import Console

from keyscope.cli import console
from keyscope.cli.console import JsonLines, Lines, short, show_progress
from keyscope.contract.texts import duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when it is told to."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_log_gets_a_line_every_few_seconds_with_rate_and_time_left(clock):
    file = io.StringIO()
    with Lines(file).stage("Forward", 1000, "tokens") as advance:
        for _ in range(4):
            clock(2.6)
            advance(100)
    assert file.getvalue().splitlines() == [
        "Forward: 1000 tokens …",
        "Forward: 200/1000 tokens, 38.5 tokens/s, 21 s left",
        "Forward: 400/1000 tokens, 38.5 tokens/s, 16 s left",
        "Forward: 400 tokens done in 10 s",
    ]


def test_a_stage_of_unknown_length_promises_no_end(clock):
    file = io.StringIO()
    with Lines(file).stage("Reading the corpus", None, "files") as advance:
        clock(6)
        advance(12)
    assert file.getvalue().splitlines() == [
        "Reading the corpus …",
        "Reading the corpus: 12 files, 2 files/s",
        "Reading the corpus: 12 files done in 6.0 s",
    ]


def test_a_program_gets_one_json_object_a_line(clock):
    file = io.StringIO()
    progress = JsonLines(file)
    with progress.stage("Forward", 10, "tokens") as advance:
        clock(5)
        advance(5)
    progress.note("one sentence")
    assert [json.loads(line) for line in file.getvalue().splitlines()] == [
        {"event": "stage", "stage": "Forward", "total": 10, "unit": "tokens"},
        {
            "event": "progress",
            "stage": "Forward",
            "done": 5.0,
            "total": 10,
            "unit": "tokens",
            "rate": 1.0,
            "seconds_left": 5.0,
        },
        {"event": "done", "stage": "Forward", "done": 5.0, "unit": "tokens", "seconds": 5.0},
        {"event": "note", "text": "one sentence"},
    ]


def test_a_terminal_gets_bars_and_the_notes_as_they_are():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with show_progress(console=terminal) as progress, progress.stage("Forward", 20, "tokens") as advance:
        progress.note("kept [as] it is")
        advance(20)
    shown = terminal.file.getvalue()
    assert "kept [as] it is" in shown
    assert "Forward" in shown
    assert "20 tokens" in shown


def test_what_is_no_terminal_gets_lines():
    file = io.StringIO()
    with show_progress(console=Console(file=file)) as progress:
        progress.note("hello")
    assert file.getvalue() == "hello\n"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (3.456, "3.46"), (950, "950"), (9_999, "9999"), (12_345, "12.3k"), (4.51e6, "4.51M")]
)
def test_numbers_are_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (42.4, "42 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")]
)
def test_times_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text
