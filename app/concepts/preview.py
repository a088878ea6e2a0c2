"""Try patterns on a run's stored windows: how often they match, and where."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from keyscope.app.queries.values import rows
from keyscope.app.runs import Run
from keyscope.contract.concepts import Pattern
from keyscope.matching.process import Child, PatternTooLarge, PatternTooSlow
from keyscope.matching.texts import Search

SECONDS = 2.0
"""How long all patterns of a preview may take together; then it shows what was found until then."""
MOST_WINDOWS = 1000
"""Windows searched, in an order unrelated to their content."""
MOST_EXAMPLES = 6
MOST_MATCHES = 200
"""Matches counted per window; more would add nothing, and a person is waiting."""
AROUND = 60
"""Characters shown on each side of a match."""

_WINDOWS = """
    SELECT w.token_ids, w.line, f.path FROM windows w JOIN files f USING (file_id)
    WHERE f.language = ? ORDER BY hash(w.window_id) LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One match in its line of code."""

    path: str
    line: int
    before: str
    match: str
    after: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A pattern's matches in some windows of one language."""

    language: str
    windows: int
    """Windows to be searched."""
    searched: int
    """Windows that were: fewer than `windows` if the time was up."""
    windows_with: int
    matches: int
    examples: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class _Window:
    path: str
    line: int
    text: bytes


class _TimeIsUp(Exception):
    """Raised inside a search."""


def preview(
    run: Run, patterns: Mapping[str, Pattern], child: Child, check: Callable[[], None]
) -> dict[str, Preview | PatternTooLarge]:
    """Try expressions and lists of identifiers, by language; queries need the syntax trees of whole files.

    Identifiers also match in comments and strings, which cannot be told apart without a syntax tree.

    Args:
        run: the run.
        patterns: what to look for in the windows of each language.
        child: a child for `matching.texts`.
        check: called several times a second; what it raises ends the preview.
    """
    windows = {language: _windows(run, language) for language in patterns}
    deadline = time.monotonic() + SECONDS

    def pause() -> None:
        check()
        if time.monotonic() >= deadline:
            raise _TimeIsUp

    found: dict[str, Preview | PatternTooLarge] = {}
    for language, pattern in patterns.items():
        try:
            found[language] = _search(child, pattern, language, windows[language], pause)
        except PatternTooLarge as error:
            found[language] = error
    return found


def _search(
    child: Child, pattern: Pattern, language: str, windows: Sequence[_Window], pause: Callable[[], None]
) -> Preview:
    texts = [window.text for window in windows]
    search = Search(pattern.regex, pattern.identifiers or (), texts, MOST_MATCHES)
    names = [f"the {language} pattern"] * len(windows)
    searched = windows_with = matches = 0
    examples: list[Shown] = []
    try:
        pause()
        with closing(child.answers(search, names, SECONDS, pause)) as answers:
            for window, spans in zip(windows, answers, strict=True):
                searched += 1
                matches += len(spans)
                windows_with += bool(spans)
                if spans and len(examples) < MOST_EXAMPLES:
                    examples.append(_shown(window, *spans[0]))
                pause()
    except (_TimeIsUp, PatternTooSlow):
        pass  # what was found until now is worth showing
    return Preview(language, len(windows), searched, windows_with, matches, examples)


def _windows(run: Run, language: str) -> list[_Window]:
    with run.reading() as cursor:
        found = rows(cursor, _WINDOWS, [language, MOST_WINDOWS])
    return [_Window(path, line, run.vocabulary.content(ids)) for ids, line, path in found]


def _shown(window: _Window, first: int, end: int) -> Shown:
    text = window.text
    before, match, after = (part.decode(errors="replace") for part in (text[:first], text[first:end], text[end:]))
    return Shown(
        path=window.path,
        line=window.line + before.count("\n"),
        before=before.rpartition("\n")[2][-AROUND:],
        match=match,
        after=after.partition("\n")[0][:AROUND],
    )
