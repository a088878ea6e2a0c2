"""A few matches of a concept with the code around them, for people to read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.worker.analysis.concepts.lines import RADIUS
from keyscope.worker.analysis.concepts.places import Places
from keyscope.worker.precompute.token_store import TokenStore

PER_LANGUAGE = 5
LONGEST_MATCH = 400
LONGEST_AROUND = 600
"""Most bytes shown of a match, and on either side of it."""


@dataclass(frozen=True, slots=True)
class ConceptExample:
    language: str
    rank: int
    source: str
    path: str
    line: int
    before: str
    match: str
    after: str


def examples(store: TokenStore, places: Places, files: npt.NDArray[np.bool_], seed: int) -> list[ConceptExample]:
    """Random matches of one concept in the chosen files, at most one per file, ordered by language and rank."""
    about = store.files()
    order = np.random.default_rng(seed).permutation(len(places.files))
    taken: dict[str, list[ConceptExample]] = {}
    seen: set[int] = set()
    for number in order:
        file = int(places.files[number])
        language = store.language_names[store.languages[file]]
        shown = taken.setdefault(language, [])
        if not files[file] or file in seen or len(shown) == PER_LANGUAGE:
            continue
        seen.add(file)
        source, path = about["source"][file].as_py(), about["path"][file].as_py()
        text = store.text(file)
        first, end = int(places.firsts[number]), int(places.ends[number])
        line = int(store.lines[store.offsets[file]]) + text.count(b"\n", 0, first)
        shown.append(ConceptExample(language, len(shown) + 1, source, path, line, *_around(text, first, end)))
    return [example for language in sorted(taken) for example in taken[language]]


def _around(text: bytes, first: int, end: int) -> tuple[str, str, str]:
    """The text before a match, the match, and the text after it, with some lines on either side."""
    before = b"\n".join(text[:first].rsplit(b"\n", RADIUS + 1)[-RADIUS - 1 :])[-LONGEST_AROUND:]
    after = b"\n".join(text[end:].split(b"\n", RADIUS + 1)[: RADIUS + 1])[:LONGEST_AROUND]
    match = text[first : min(end, first + LONGEST_MATCH)]
    return before.decode(errors="replace"), match.decode(errors="replace"), after.decode(errors="replace")
