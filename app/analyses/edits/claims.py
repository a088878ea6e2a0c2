"""Claims about edits, tried on the analysis `edit`."""

from keyscope.app.analyses.claim import Cursor, Measured, change, claims_about, judged
from keyscope.app.analyses.edits.judging import verdicts
from keyscope.app.analyses.edits.sections import conclusion
from keyscope.app.queries.edits import list_edits
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_claim = claims_about("edit", "concepts_page")
_EDITS = """
    SELECT e.edit, e.title, e.picker, e.keys, f.loss_change, f.loss_low, f.loss_high, f.places, f.files, f.projects
    FROM edits e JOIN edit_conditions c USING (edit)
    JOIN edit_effects f ON f.edit = e.edit AND f.condition = c.condition AND f."group" = 'concept'
    WHERE c.role = 'dose' AND c.main ORDER BY e.title, e.picker, e.edit"""
_DOSES = """
    SELECT c.keys, f.loss_change, f.loss_low, f.loss_high, f.places, f.files, f.projects, t.difference, t.low, t.high,
        0, t.files, t.projects FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition AND f."group" = 'concept'
    JOIN edit_contrasts t ON t.edit = c.edit AND t.condition = c.condition AND t.against = 'general' AND t.measure = 'loss'
    WHERE c.edit = ? AND c.role = 'dose' AND f.loss_change IS NOT NULL AND t.difference IS NOT NULL ORDER BY c.keys"""
_RANGE = """
    SELECT c.role, f."group", f.loss_change, f.loss_low, f.loss_high, f.places, f.files, f.projects FROM edit_conditions c
    JOIN edit_effects f ON f.edit = c.edit AND f.condition = c.condition
    WHERE c.edit = ? AND c.main AND c.role IN ('dose', 'range') AND f."group" IN ('concept', 'near')"""


@_claim(
    6,
    "A concept can be edited by masking its keys",
    "Masking the keys of a concept such as numpy changes that concept and little else (Haider et al. 2024)",
    "Expected: most edits are selective: with the keys at their means, the loss at the concept's places rises more than with "
    "masks of other keys that do the same damage to general code (p at most 0.05 after Holm over the run's edits), and so it does with "
    "resampled coefficients, and more than general code's. Contrary: no edit, with enough projects for a verdict, is.",
)
def edit(cursor: Cursor, manifest: Manifest) -> Measured | None:
    edits = list_edits(cursor)
    if not edits:
        return None
    found = list(zip(edits, verdicts(cursor, edits), strict=True))
    tried = [verdict for _, verdict in found if verdict.conclusion not in ("too few projects", "not measured")]
    selective = sum(verdict.conclusion == "selective" for verdict in tried)
    return Measured(
        f"{selective} of {len(found)} edits are selective, {len(found) - len(tried)} rest on too little for a verdict",
        judged(selective > len(found) / 2, bool(tried) and not selective),
        tuple(
            f"{each.title} ({each.picker}, {each.keys:,} keys), {verdict.conclusion}: {conclusion(each, verdict)}"
            for each, verdict in found
        ),
    )


@_claim(
    7,
    "Dose and response",
    "With more keys masked, predictions get worse at the concept before they do in general code",
    "Expected: for most edits, at most doses, the loss rises more at the concept's places than in general code, with the "
    "interval above 0. Contrary: it rises more in general code.",
)
def doses(cursor: Cursor, manifest: Manifest) -> Measured | None:
    parts, ahead, behind, edits = [], 0, 0, rows(cursor, _EDITS, [])
    for name, title, picker, *_ in edits:
        doses = [
            (keys, Estimate(*figures[:6]), Estimate(*figures[6:])) for keys, *figures in rows(cursor, _DOSES, [name])
        ]
        parts.append(f"{title} ({picker}): " + ", ".join(f"{_nats(dose)} at {keys:,} keys" for keys, dose, _ in doses))
        differences = [difference for _, _, difference in doses]
        ahead += sum(each.above(0) for each in differences) > len(differences) / 2
        behind += sum(each.below(0) for each in differences) > len(differences) / 2
    if not edits:
        return None
    return Measured(
        f"{ahead} of {len(edits)} edits hit the concept harder than general code at most doses, {behind} general code harder, "
        "with intervals that exclude 0; change of the loss at the concept's places",
        judged(ahead > len(edits) / 2, behind > len(edits) / 2),
        tuple(parts),
    )


@_claim(
    9,
    "Keys picked by cause hit harder",
    "Keys picked by coefficient times gradient matter more for a target than keys picked by what their triggers have in "
    "common (Yin et al. 2026)",
    "Expected: for most pairs of edits of one concept with the same number of keys, the loss rises more with keys picked "
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
    harder = sum(causal.above(other) for _, causal, other, _ in pairs)
    softer = sum(other.above(causal) for _, causal, other, _ in pairs)
    return Measured(
        f"keys picked by cause hit harder in {harder} of {len(pairs)} pairs, softer in {softer}, with non-overlapping "
        "intervals; change of the loss at the concept's places",
        judged(harder > len(pairs) / 2, softer > len(pairs) / 2),
        tuple(f"{title}: causal {_nats(causal)}, {picker} {_nats(other)}" for title, causal, other, picker in pairs),
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
        kinder, harsher = kinder + whole.above(part), harsher + part.above(whole)
        parts.append(
            f"{title} ({picker}): concept {_nats(found['range', 'concept'])} against {_nats(found['dose', 'concept'])}, "
            f"other places {_nats(part)} against {_nats(whole)}"
        )
    if not tried:
        return None
    return Measured(
        f"other places lose less by masking within the range in {kinder} of {tried} edits, more in {harsher}, with "
        "non-overlapping intervals; change of the loss within the range against throughout",
        judged(kinder > tried / 2, harsher > tried / 2),
        tuple(parts),
    )


def _nats(rise: Estimate) -> str:
    return change(rise, 3, " nats", 1)


CLAIMS = (edit, doses, pickers, ranges)
