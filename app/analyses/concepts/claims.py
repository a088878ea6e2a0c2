"""Claims about concepts and edits, on the analyses `concepts` and `edit`."""

from math import isnan
from statistics import median

from keyscope.app.analyses.claim import Claim, Cursor, Measured, Rate, judged, rank_correlation
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_MAP = """
    SELECT c.name, list(l.significant ORDER BY l.layer), sum(l.significant), sum(l.keys), sum(l.any_hit),
        sum(l.expected), sum(l.expected_low), sum(l.expected_high)
    FROM concepts c JOIN concept_layers l USING (concept) WHERE NOT l.control GROUP BY c.name ORDER BY c.name"""
_SHUFFLED = "SELECT sum(significant) FROM concept_layers WHERE control"
_EDITS = """
    SELECT e.edit, e.title, e.picker, e.keys, f.accuracy_change, f.accuracy_low, f.accuracy_high, f.places
    FROM edits e JOIN edit_conditions c USING (edit)
    JOIN edit_effects f ON f.edit = e.edit AND f.condition = c.condition AND f."group" = 'concept'
    WHERE c.role = 'dose' AND c.main ORDER BY e.title, e.picker, e.edit"""
_EXCESS = """
    SELECT excess, excess_low, excess_high FROM edit_controls
    WHERE edit = ? AND "group" = 'concept' AND control = 'matched' AND measure = 'accuracy'"""
_CONTRAST = """
    SELECT t.difference, t.low, t.high FROM edit_contrasts t JOIN edit_conditions c USING (edit, condition)
    WHERE t.edit = ? AND c.role = 'dose' AND c.main AND t.against = 'general' AND t.measure = 'accuracy'"""
_DOSES = """
    SELECT c.keys, f.accuracy_change, f.accuracy_low, f.accuracy_high, t.difference, t.low, t.high FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition AND f."group" = 'concept'
    JOIN edit_contrasts t ON t.edit = c.edit AND t.condition = c.condition AND t.against = 'general' AND t.measure = 'accuracy'
    WHERE c.edit = ? AND c.role = 'dose' ORDER BY c.keys"""
_RANGE = """
    SELECT c.role, f."group", f.accuracy_change, f.accuracy_low, f.accuracy_high FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition
    WHERE c.edit = ? AND c.main AND c.role IN ('dose', 'range') AND f."group" IN ('concept', 'near')"""


def concept_map(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Keys with a hit by layer against the chance line, and significant keys."""
    found = rows(cursor, _MAP, [])
    if not found:
        return None
    shuffled = rows(cursor, _SHUFFLED, [])[0][0] or 0
    carried = [row for row in found if row[2]]
    everywhere = [row for row in carried if all(row[1])]
    rise = median([rank_correlation([float(n) for n in row[1]]) for row in carried] or [0.0])
    parts = tuple(
        f"{name}: {significant:,} significant keys, {100 * hit / keys:.1f} % with any hit, by chance "
        f"{Rate(*(keys_by_chance / keys for keys_by_chance in chance)).share()}"
        for name, _layers, significant, keys, hit, *chance in found
    )
    return Measured(
        f"significant keys in every layer for {len(everywhere)} of {len(carried)} concepts that have any, of these a median rank "
        f"correlation with depth of {rise:.2f}; in shuffled copies {shuffled} significant keys in all",
        judged(len(everywhere) > len(carried) / 2 and rise > 0.3, not carried or rise < -0.3),
        parts,
    )


def edit(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """What masking a concept's keys does to it, against matched keys and general code."""
    found = [(row, _one(cursor, _EXCESS, row[0]), _one(cursor, _CONTRAST, row[0])) for row in rows(cursor, _EDITS, [])]
    if not found:
        return None
    compared = [(excess, contrast) for _, excess, contrast in found if excess and contrast]
    tried = [pair for pair in compared if not any(isnan(each.high) for each in pair)]
    selective = sum(excess.high < 0 and contrast.high < 0 for excess, contrast in tried)
    parts = tuple(
        f"{row[1]} ({row[2]}, {row[3]:,} keys): accuracy {_points(Rate.of(row[4:7]))} at {row[7]:,} places of the concept, "
        f"{_points(excess)} beyond matched keys, {_points(contrast)} beyond general code"
        for row, excess, contrast in found
        if excess and contrast
    )
    return Measured(
        f"{selective} of {len(found)} edits are selective by both comparisons",
        judged(selective > len(found) / 2, bool(tried) and not selective),
        parts,
    )


def pickers(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Edits of one concept with equally many keys, picked by cause and by what triggers have in common."""
    by_concept: dict[tuple[str, int], dict[str, Rate]] = {}
    for _, title, picker, keys, *rate, _places in rows(cursor, _EDITS, []):
        if rate[0] is not None:
            by_concept.setdefault((title, keys), {})[picker] = Rate.of(rate)
    pairs = [
        (title, picked["causal"], other, picker)
        for (title, _), picked in by_concept.items()
        for picker, other in picked.items()
        if "causal" in picked and picker not in ("causal", "basket")
    ]
    if not pairs:
        return None
    harder = sum(other.above(causal) for _, causal, other, _ in pairs)
    softer = sum(causal.above(other) for _, causal, other, _ in pairs)
    return Measured(
        f"keys picked by cause hit harder in {harder} of {len(pairs)} pairs, softer in {softer}, intervals apart; change of "
        "accuracy at the concept's places",
        judged(harder > len(pairs) / 2, softer > len(pairs) / 2),
        tuple(
            f"{title}: causal {_points(causal)}, {picker} {_points(other)}" for title, causal, other, picker in pairs
        ),
    )


def doses(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Accuracy at the concept's places over growing masks, against general code."""
    parts, ahead, behind, edits = [], 0, 0, rows(cursor, _EDITS, [])
    for name, title, picker, *_ in edits:
        doses = [(keys, Rate.of(figures[:3]), Rate.of(figures[3:])) for keys, *figures in rows(cursor, _DOSES, [name])]
        parts.append(
            f"{title} ({picker}): " + ", ".join(f"{_points(change)} at {keys:,} keys" for keys, change, _ in doses)
        )
        differences = [difference for _, _, difference in doses]
        ahead += any(each.high < 0 for each in differences)
        behind += any(each.low > 0 for each in differences)
    if not edits:
        return None
    return Measured(
        f"{ahead} of {len(edits)} edits hit the concept before general code at some dose, {behind} general code first, intervals "
        "apart from 0; change of accuracy at the concept's places",
        judged(ahead > len(edits) / 2, behind > len(edits) / 2),
        tuple(parts),
    )


def ranges(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Masking only in the concept's range of coefficients against masking throughout."""
    parts, kinder, harsher, tried = [], 0, 0, 0
    for name, title, picker, *_ in rows(cursor, _EDITS, []):
        found = {
            (role, group): Rate.of(rate) for role, group, *rate in rows(cursor, _RANGE, [name]) if rate[0] is not None
        }
        if len(found) < 4:
            continue
        tried += 1
        whole, part = found["dose", "near"], found["range", "near"]
        kinder, harsher = kinder + part.above(whole), harsher + whole.above(part)
        parts.append(
            f"{title} ({picker}): concept {_points(found['range', 'concept'])} against {_points(found['dose', 'concept'])}, "
            f"other places {_points(part)} against {_points(whole)}"
        )
    if not tried:
        return None
    return Measured(
        f"other places lose less by masking in range with {kinder} of {tried} edits, more with {harsher}, intervals apart; change of "
        "accuracy in range against throughout",
        judged(kinder > tried / 2, harsher > tried / 2),
        tuple(parts),
    )


def _one(cursor: Cursor, query: str, name: str) -> Rate | None:
    found = rows(cursor, query, [name])
    return Rate.of(found[0]) if found and found[0][0] is not None else None


def _points(rate: Rate) -> str:
    return rate.change(1, " points", 100)


CLAIMS = (
    Claim(
        4,
        "Concepts have keys in every layer, more with depth",
        "Keys whose triggers hit a concept are in all layers, somewhat more of them in upper ones (the first author's result "
        "files for two concepts of Java)",
        "Expected: significant keys in every layer for most concepts that have any, and more with depth for the median "
        "concept (rank correlation over 0.3). Contrary: fewer with depth (under −0.3), or none at all.",
        "concepts",
        "concepts_page",
        concept_map,
    ),
    Claim(
        6,
        "A concept can be edited by masking its keys",
        "Masking the keys of a concept such as numpy changes that concept and little else (Haider et al. 2024)",
        "Expected: for most edits accuracy falls more at the concept's places than with matched keys masked, and more than in "
        "general code, both intervals below 0. Contrary: for none.",
        "edit",
        "concepts_page",
        edit,
    ),
    Claim(
        7,
        "Dose and response",
        "With more keys masked the concept falls before general code does",
        "Expected: for most edits, at some dose, accuracy falls more at the concept's places than in general code, the "
        "interval below 0. Contrary: general code falls first for most.",
        "edit",
        "concepts_page",
        doses,
    ),
    Claim(
        9,
        "Keys picked by cause hit harder",
        "Keys picked by coefficient times gradient carry a target more than keys picked by what their triggers have in "
        "common (Yin et al. 2026)",
        "Expected: for most pairs of edits of one concept with equally many keys, accuracy falls more with keys picked by "
        "cause, intervals apart. Contrary: less.",
        "edit",
        "concepts_page",
        pickers,
    ),
    Claim(
        10,
        "Masking in a range spares the rest",
        "A key masked only in the concept's range of coefficients spares what else it does (Haider et al. 2025)",
        "Expected: for most edits other places of the same windows lose less than by masking throughout, intervals "
        "apart. Contrary: they lose more.",
        "edit",
        "concepts_page",
        ranges,
    ),
)
