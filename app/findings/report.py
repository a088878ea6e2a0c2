"""All claims tried on a run."""

from keyscope.app.findings import agreement, concepts, firing, run_file, syntax
from keyscope.app.findings.finding import Claim, Cursor, Finding, tried
from keyscope.contract.manifest import Manifest

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (*run_file.CLAIMS, *syntax.CLAIMS, *concepts.CLAIMS, *agreement.CLAIMS, *firing.CLAIMS),
        key=lambda claim: claim.number,
    )
)


def findings(cursor: Cursor, manifest: Manifest) -> list[Finding]:
    """Every claim, tried where its figures are there."""
    return tried(CLAIMS, cursor, manifest)


def markdown(found: list[Finding]) -> str:
    """The findings as a table of Markdown."""
    lines = ["| | claim | we measured | verdict |", "|---|---|---|---|"]
    for each in found:
        cells = str(each.claim.number), each.claim.title, each.measured.whole, each.measured.verdict
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
