"""All claims tried on a run."""

from keyscope.app.analyses.agreement import claims as agreement
from keyscope.app.analyses.claim import Claim, Cursor, Finding, tried
from keyscope.app.analyses.concepts import claims as concepts
from keyscope.app.analyses.firing import claims as firing
from keyscope.app.analyses.syntax import claims as syntax
from keyscope.app.findings import run_file
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
