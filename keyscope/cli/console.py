"""Shows progress: bars in a terminal, lines in a log, JSON lines for programs."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from keyscope.contract.texts import duration
from keyscope.worker.progress import Advance, Pace, Progress

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(json_lines: bool = False, console: Console | None = None) -> Iterator[Progress]:
    """Yield a listener for the output at hand: JSON lines on stdout if requested, otherwise bars or lines on stderr."""
    console = console or Console(stderr=True)
    if json_lines:
        yield JsonLines(sys.stdout)
    elif console.is_terminal:
        with Bars(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Amount(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        ) as bars:
            yield OnTerminal(bars)
    else:
        yield Lines(console.file)


class OnTerminal:
    """Shows each stage as a bar with rate and time left, and notes above the bars."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        """Show a bar, which stays when the stage is done."""
        task = self._bars.add_task(name, total=total, unit=unit)
        self._bars.update(task, completed=before)
        yield lambda done: self._bars.advance(task, done)
        done = self._bars.tasks[task].completed
        self._bars.update(task, total=done or 1, completed=done or 1)

    def note(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


class _Amount(ProgressColumn):
    """How much of a stage is done, and how fast it goes."""

    def render(self, task: Task) -> Text:
        """The text beside the bar."""
        unit = task.fields["unit"]
        if task.total is None and not task.completed:
            return Text("")
        total = "" if task.total is None or task.finished else f"/{short(task.total)}"
        speed = task.finished_speed or task.speed
        rate = f", {short(speed)}/s" if speed else ""
        return Text(f"{short(task.completed)}{total} {unit}{rate}", style="progress.data.speed")


class _LinePace(Pace):
    """A stage's progress, and when the next line about it is due."""

    def __init__(self, total: float | None, before: float) -> None:
        super().__init__(total, before)
        self._last_line = time.monotonic()

    def is_due(self) -> bool:
        """Whether enough time has passed since the last line; if so, the wait starts over."""
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return False
        self._last_line = now
        return True


class Lines:
    """Writes a line when a stage starts, every few seconds, and when it ends."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        """Write the stage's lines."""
        pace = _LinePace(total, before)

        def advance(done: float) -> None:
            pace.done += done
            if pace.is_due():
                self.note(f"{name}: {_amount(pace, unit)}")

        self.note(f"{name} …" if total is None else f"{name}: {short(total)} {unit} …")
        yield advance
        amount = f"{short(pace.done)} {unit} " if pace.done else ""
        self.note(f"{name}: {amount}done in {duration(pace.seconds)}")

    def note(self, text: str) -> None:
        print(text, file=self._file, flush=True)


class JsonLines:
    """Writes one JSON object per line: `stage`, `progress`, `done` and `note` events."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str, before: float = 0.0) -> Iterator[Advance]:
        """Write the stage's events."""
        pace = _LinePace(total, before)

        def advance(done: float) -> None:
            pace.done += done
            if pace.is_due():
                self.event(
                    "progress",
                    stage=name,
                    done=pace.done,
                    total=total,
                    unit=unit,
                    rate=pace.rate,
                    seconds_left=pace.seconds_left,
                )

        self.event("stage", stage=name, total=total, unit=unit)
        yield advance
        self.event("done", stage=name, done=pace.done, unit=unit, seconds=round(pace.seconds, 3))

    def note(self, text: str) -> None:
        self.event("note", text=text)

    def event(self, name: str, **fields: object) -> None:
        print(json.dumps({"event": name} | fields), file=self._file, flush=True)


def short(number: float) -> str:
    """A number rounded for reading in passing: 3.5, 950, 12.3k, 4.5M."""
    if number >= 1e6:
        return f"{number / 1e6:.3g}M"
    if number >= 1e4:
        return f"{number / 1e3:.3g}k"
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _amount(pace: Pace, unit: str) -> str:
    total = f"/{short(pace.total)}" if pace.total is not None else ""
    rate = f", {short(pace.rate)} {unit}/s" if pace.rate else ""
    left = f", {duration(pace.seconds_left)} left" if pace.seconds_left is not None else ""
    return f"{short(pace.done)}{total} {unit}{rate}{left}"
