"""All claims tried on a run."""

from keyscope.app.analyses import kinds
from keyscope.app.analyses.claim import Claim, Cursor, Finding, beyond_chance, tried
from keyscope.app.findings import run_file
from keyscope.contract.manifest import Manifest


def claims() -> list[Claim]:
    """The claims about the run file and about every kind of analysis, by number."""
    of_kinds = [claim for kind in kinds.KINDS for claim in kind.claims]
    return sorted((*run_file.CLAIMS, *of_kinds), key=lambda claim: claim.number)


def findings(cursor: Cursor, manifest: Manifest) -> list[Finding]:
    """Every claim, tried if its figures were computed."""
    return tried(claims(), cursor, manifest)


def markdown(found: list[Finding]) -> str:
    """The findings as a Markdown table."""
    counted = beyond_chance(found)
    head = ["", "claim", "we measured", "verdict", *(["twin"] if counted else [])]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for each in found:
        cells = [str(each.claim.number), each.claim.title, each.measured.whole, each.measured.verdict]
        if counted:
            cells.append(each.twin.verdict if each.twin else "–")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    if counted:
        lines += ["", f"{counted[0]} of {counted[1]} claims that the twin fails are as expected."]
    return "\n".join(lines)
