"""The counts that the first author of the paper published for each layer, beside those of a run made by its procedure.

A key counts for a concept if the text of any of its strongest windows matches, upper and lower case alike. That rule is
the paper's; on its own it does not tell keys of a concept from chance, which is why the overlap of two unrelated
concepts stands beside what chance makes of it.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from keyscope.app.analyses.claim import rank_correlation, rank_correlation_of
from keyscope.app.queries.values import rows
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest
from keyscope.contract.token_text import decode

PUBLISHED: dict[str, Any] = json.loads(Path(__file__).with_name("paper2023.json").read_text("utf-8"))
_WINDOWS = """
    SELECT window_id, list(t.bytes ORDER BY place) FROM (
        SELECT window_id, unnest(token_ids) AS token_id, generate_subscripts(token_ids, 1) AS place FROM windows
        WHERE window_id IN (SELECT window_id FROM triggers WHERE language = ? AND polarity = 'max' AND rank <= ?)
    ) JOIN tokens t USING (token_id) WHERE NOT t.special GROUP BY window_id ORDER BY window_id"""
_TRIGGERS = """
    SELECT DISTINCT layer, "index", window_id FROM triggers
    WHERE language = ? AND polarity = 'max' AND rank <= ? ORDER BY layer, "index", window_id"""


class NotThePapers(KeyscopeError, status=409):
    """A run was not made by the procedure of the paper."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A concept in the paper's model and in a run, by layer."""

    name: str
    published: tuple[int, ...]
    found: tuple[int, ...]
    keys: tuple[int, ...]
    """Keys of each layer of the run."""
    published_rise: float
    """Rank correlation of the published counts with depth."""
    rise: float
    """The same of the run's shares."""
    alike: float
    """Rank correlation of both by depth, the published ones averaged over the depths of the run's layers."""
    chi_square: float
    """Of the run's counts against the published profile."""
    p: float
    """Its tail; keys share windows, so it is smaller than it should be."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both concepts, and the keys that count for both of them."""

    concepts: tuple[Compared, ...]
    overlap: int
    expected: float
    """Such keys if both were independent."""
    published_overlap: int
    published_expected: float


def compare(cursor: duckdb.DuckDBPyConnection, manifest: Manifest) -> Comparison:
    """Count the paper's concepts in a run and lay the published counts beside them.

    Raises:
        NotThePapers: the run has another preset, or no files in the paper's language.
    """
    settings, language, examples = manifest.settings, PUBLISHED["language"], PUBLISHED["examples"]
    if settings.preset != "paper2023":
        raise NotThePapers(
            f"the run {manifest.run_id} has the preset {settings.preset}: the paper's counts compare with runs that were "
            "computed with --preset paper2023"
        )
    if language not in manifest.languages:
        raise NotThePapers(
            f"the run {manifest.run_id} has files in {', '.join(manifest.languages)}: the paper's counts are of {language}"
        )
    patterns = {each["name"]: re.compile(each["regex"], re.IGNORECASE) for each in PUBLISHED["concepts"]}
    windows: dict[str, set[int]] = {name: set() for name in patterns}
    for window, tokens in rows(cursor, _WINDOWS, [language, examples]):
        text = "".join(decode([bytes(token) for token in tokens]))
        for name, pattern in patterns.items():
            if pattern.search(text):
                windows[name].add(window)
    hit: dict[str, set[tuple[int, int]]] = {name: set() for name in patterns}
    for layer, index, window in rows(cursor, _TRIGGERS, [language, examples]):
        for name in patterns:
            if window in windows[name]:
                hit[name].add((layer, index))
    sizes = tuple(manifest.model.keys_per_layer)
    main, other = hit.values()
    first, second = (sum(each["keys"]) for each in PUBLISHED["concepts"])
    of_model = PUBLISHED["keys_per_layer"] * len(PUBLISHED["concepts"][0]["keys"])
    return Comparison(
        concepts=tuple(
            _compared(each["name"], each["keys"], hit[each["name"]], sizes) for each in PUBLISHED["concepts"]
        ),
        overlap=len(main & other),
        expected=len(main) * len(other) / sum(sizes),
        published_overlap=PUBLISHED["overlap"],
        published_expected=first * second / of_model,
    )


def markdown(found: Comparison, manifest: Manifest) -> str:
    """The comparison as Markdown."""
    lines = [f"{PUBLISHED['source']}; any of {PUBLISHED['examples']} windows, {PUBLISHED['language']}.", ""]
    model = PUBLISHED["model"]
    for each in found.concepts:
        lines += [
            f"**{each.name}**",
            "",
            f"- {model}: {' '.join(map(str, each.published))} (rank correlation with depth {each.published_rise:.2f})",
            f"- {manifest.model.model_id}: {' '.join(map(str, each.found))} of {' '.join(map(str, each.keys))} keys "
            f"(rank correlation with depth {each.rise:.2f})",
            f"- both by depth: rank correlation {each.alike:.2f}; against the published profile χ² = {each.chi_square:.1f} "
            f"with {len(each.found) - 1} degrees of freedom, p = {each.p:.2g} (keys share windows, so p is too small)",
            "",
        ]
    names = " and ".join(each.name for each in found.concepts)
    lines.append(
        f"Keys that count for {names}: {found.overlap}, expected {found.expected:.1f} if independent; {model}: "
        f"{found.published_overlap}, expected {found.published_expected:.1f}"
    )
    return "\n".join(lines)


def _compared(name: str, published: Sequence[int], hit: set[tuple[int, int]], sizes: tuple[int, ...]) -> Compared:
    found = tuple(sum(layer == each for each, _ in hit) for layer in range(len(sizes)))
    shares = [count / size for count, size in zip(found, sizes, strict=True)]
    profile = at_depths(published, len(sizes))
    weights = [share * size for share, size in zip(profile, sizes, strict=True)]
    expected = [weight / sum(weights) * sum(found) for weight in weights]
    chi_square = sum((seen - due) ** 2 / due for seen, due in zip(found, expected, strict=True)) if sum(found) else 0.0
    return Compared(
        name=name,
        published=tuple(published),
        found=found,
        keys=sizes,
        published_rise=rank_correlation([float(count) for count in published]),
        rise=rank_correlation(shares),
        alike=rank_correlation_of(profile, shares),
        chi_square=chi_square,
        p=chi_square_tail(chi_square, len(sizes) - 1),
    )


def at_depths(values: Sequence[float], layers: int) -> list[float]:
    """Means of values over as many equal parts of the depth as there are layers; a value may lie in several parts."""
    size = len(values) / layers
    means = []
    for layer in range(layers):
        low, high = layer * size, (layer + 1) * size
        inside = [max(0.0, min(high, place + 1) - max(low, place)) for place in range(len(values))]
        means.append(sum(value * share for value, share in zip(values, inside, strict=True)) / sum(inside))
    return means


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P(χ² ≥ statistic), by the recurrence of the incomplete gamma function from 1 or 2 degrees of freedom."""
    if freedom < 1:
        return 1.0
    half = statistic / 2
    tail, order = (math.erfc(math.sqrt(half)), 0.5) if freedom % 2 else (math.exp(-half), 1.0)
    while order < freedom / 2:
        if half:
            tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return min(tail, 1.0)
