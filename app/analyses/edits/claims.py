"""Claims about edits, tried on the analysis `edit`."""

from keyscope.app.analyses.claim import Cursor, Measured, change, claims_about, judged
from keyscope.app.analyses.edits.judging import judge
from keyscope.app.queries import edits as queries
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_claim = claims_about("edit", "concepts_page")
_EDITS = """
    SELECT e.edit, e.title, e.picker, e.keys, f.accuracy_change, f.accuracy_low, f.accuracy_high, f.places, f.files, f.projects
    FROM edits e JOIN edit_conditions c USING (edit)
    JOIN edit_effects f ON f.edit = e.edit AND f.condition = c.condition AND f."group" = 'concept'
    WHERE c.role = 'dose' AND c.main ORDER BY e.title, e.picker, e.edit"""
_EXCESS = """
    SELECT excess, excess_low, excess_high, 0, files, projects FROM edit_controls
    WHERE edit = ? AND "group" = 'concept' AND control = 'matched' AND measure = 'accuracy'"""
_CONTRAST = """
    SELECT t.difference, t.low, t.high, 0, t.files, t.projects FROM edit_contrasts t JOIN edit_conditions c USING (edit, condition)
    WHERE t.edit = ? AND c.role = 'dose' AND c.main AND t.against = 'general' AND t.measure = 'accuracy'"""
_DOSES = """
    SELECT c.keys, f.accuracy_change, f.accuracy_low, f.accuracy_high, f.places, f.files, f.projects, t.difference, t.low, t.high,
        0, t.files, t.projects FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition AND f."group" = 'concept'
    JOIN edit_contrasts t ON t.edit = c.edit AND t.condition = c.condition AND t.against = 'general' AND t.measure = 'accuracy'
    WHERE c.edit = ? AND c.role = 'dose' AND f.accuracy_change IS NOT NULL AND t.difference IS NOT NULL ORDER BY c.keys"""
_RANGE = """
    SELECT c.role, f."group", f.accuracy_change, f.accuracy_low, f.accuracy_high, f.places, f.files, f.projects FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition
    WHERE c.edit = ? AND c.main AND c.role IN ('dose', 'range') AND f."group" IN ('concept', 'near')"""


@_claim(
    6,
    "A concept can be edited by masking its keys",
    "Masking the keys of a concept such as numpy changes that concept and little else (Haider et al. 2024)",
    "Expected: most edits are selective: accuracy at the concept's places falls more than with random and with matched keys "
    "masked, in hardly any of whose draws it falls as much, and more than in general code, with all intervals below 0. "
    "Contrary: no edit is.",
)
def edit(cursor: Cursor, manifest: Manifest) -> Measured | None:
    edits = {each.edit: each for each in queries.list_edits(cursor)}
    found = [(row, _one(cursor, _EXCESS, row[0]), _one(cursor, _CONTRAST, row[0])) for row in rows(cursor, _EDITS, [])]
    if not found:
        return None
    judgements = [judge(cursor, edits[row[0]], "accuracy") for row, *_ in found]
    tried = [each for each in judgements if each.decided]
    selective = sum(each.selective for each in judgements)
    parts = tuple(
        f"{row[1]} ({row[2]}, {row[3]:,} keys): accuracy {_points(Estimate(*row[4:10]))} at {row[7]:,} places of the concept, "
        f"{_points(excess)} beyond matched keys, {_points(contrast)} beyond general code"
        for row, excess, contrast in found
        if excess and contrast and row[4] is not None
    )
    return Measured(
        f"{selective} of {len(found)} edits are selective",
        judged(selective > len(found) / 2, bool(tried) and not selective),
        parts,
    )


@_claim(
    7,
    "Dose and response",
    "With more keys masked, accuracy falls at the concept before it falls in general code",
    "Expected: for most edits, at some dose, accuracy falls more at the concept's places than in general code, with the "
    "interval below 0. Contrary: for most edits it falls more in general code.",
)
def doses(cursor: Cursor, manifest: Manifest) -> Measured | None:
    parts, ahead, behind, edits = [], 0, 0, rows(cursor, _EDITS, [])
    for name, title, picker, *_ in edits:
        doses = [
            (keys, Estimate(*figures[:6]), Estimate(*figures[6:])) for keys, *figures in rows(cursor, _DOSES, [name])
        ]
        parts.append(
            f"{title} ({picker}): " + ", ".join(f"{_points(dose)} at {keys:,} keys" for keys, dose, _ in doses)
        )
        differences = [difference for _, _, difference in doses]
        ahead += any(each.below(0) for each in differences)
        behind += any(each.above(0) for each in differences)
    if not edits:
        return None
    return Measured(
        f"{ahead} of {len(edits)} edits hit the concept harder than general code at some dose, {behind} general code harder, "
        "with intervals that exclude 0; change of accuracy at the concept's places",
        judged(ahead > len(edits) / 2, behind > len(edits) / 2),
        tuple(parts),
    )


@_claim(
    9,
    "Keys picked by cause hit harder",
    "Keys picked by coefficient times gradient matter more for a target than keys picked by what their triggers have in "
    "common (Yin et al. 2026)",
    "Expected: for most pairs of edits of one concept with the same number of keys, accuracy falls more with keys picked "
    "by cause, with non-overlapping intervals. Contrary: less.",
)
def pickers(cursor: Cursor, manifest: Manifest) -> Measured | None:
    by_concept: dict[tuple[str, int], dict[str, Estimate]] = {}
    for _, title, picker, keys, *rate in rows(cursor, _EDITS, []):
        if rate[0] is not None:
            by_concept.setdefault((title, keys), {})[picker] = Estimate(*rate)
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
        f"keys picked by cause hit harder in {harder} of {len(pairs)} pairs, softer in {softer}, with non-overlapping "
        "intervals; change of accuracy at the concept's places",
        judged(harder > len(pairs) / 2, softer > len(pairs) / 2),
        tuple(
            f"{title}: causal {_points(causal)}, {picker} {_points(other)}" for title, causal, other, picker in pairs
        ),
    )


@_claim(
    10,
    "Masking in a range spares the rest",
    "Masking a key only within the concept's range of coefficients spares its other roles (Haider et al. 2025)",
    "Expected: for most edits other places of the same windows lose less than by masking throughout, with "
    "non-overlapping intervals. Contrary: they lose more.",
)
def ranges(cursor: Cursor, manifest: Manifest) -> Measured | None:
    parts, kinder, harsher, tried = [], 0, 0, 0
    for name, title, picker, *_ in rows(cursor, _EDITS, []):
        found = {
            (role, group): Estimate(*rate) for role, group, *rate in rows(cursor, _RANGE, [name]) if rate[0] is not None
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
        f"other places lose less by masking within the range in {kinder} of {tried} edits, more in {harsher}, with "
        "non-overlapping intervals; change of accuracy within the range against throughout",
        judged(kinder > tried / 2, harsher > tried / 2),
        tuple(parts),
    )


def _one(cursor: Cursor, query: str, name: str) -> Estimate | None:
    found = rows(cursor, query, [name])
    return Estimate(*found[0]) if found and found[0][0] is not None else None


def _points(rate: Estimate) -> str:
    return change(rate, 1, " points", 100)


CLAIMS = (edit, doses, pickers, ranges)
