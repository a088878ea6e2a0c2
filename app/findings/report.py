"""All claims tried on a run."""

from app.findings import agreement, run_file
from app.findings.finding import Claim, Cursor, Finding, Measured, Verdict
from contract.manifest import Manifest

CLAIMS: tuple[Claim, ...] = tuple(sorted((*run_file.CLAIMS, *agreement.CLAIMS), key=lambda claim: claim.number))


def findings(cursor: Cursor, manifest: Manifest) -> list[Finding]:
    """Every claim, tried where its figures are there."""
    missing = Measured("", Verdict.MISSING)
    return [Finding(claim, claim.measure(cursor, manifest) or missing) for claim in CLAIMS]
