"""All claims tried on a run."""

from keyscope.app.analyses import kinds
from keyscope.app.analyses.claim import Claim, Cursor, Finding, tried
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
    lines = ["| | claim | we measured | verdict |", "|---|---|---|---|"]
    for each in found:
        cells = str(each.claim.number), each.claim.title, each.measured.whole, each.measured.verdict
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
