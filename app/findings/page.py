"""`/runs/{run}/findings`: the claims of the literature, each tried on this run."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from keyscope.app.analyses.claim import Finding, Verdict, beyond_chance
from keyscope.app.findings.report import findings
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding and the page that draws its figures."""

    finding: Finding
    href: str
    missing: str | None
    """The kind of analysis that has the figures; None if they exist."""
    numbered: bool
    """Whether it is the first claim of its number."""


@dataclass(frozen=True, slots=True)
class FindingsPage(Page):
    """Every claim with its rule, figures and verdict."""

    findings: Annotated[list[Shown], Help("Every claim, tried if its figures exist")]
    beyond: Annotated[
        tuple[int, int] | None, Help("Claims as expected among those that the twin fails, and how many it fails")
    ]
    counts: Annotated[dict[Verdict, int], Help("How many claims have each verdict")]


@router.get("/runs/{run}/findings", name="findings_page")
def findings_page(request: Request, run: OpenRun, cursor: Cursor, links: RunLinks) -> HTMLResponse:
    """The claims of the literature, tried on a run."""
    found = findings(cursor, run.manifest)

    def shown(finding: Finding) -> Shown:
        claim, missing = finding.claim, finding.measured.verdict is Verdict.MISSING
        first = next(each for each in found if each.claim.number == claim.number)
        return Shown(finding, links.page(claim.page, run=run.run_id), claim.kind if missing else None, first is finding)

    page = FindingsPage(
        frame=Frame.of_run("Findings", links, run.manifest),
        findings=[shown(finding) for finding in found],
        beyond=beyond_chance(found),
        counts={verdict: sum(each.measured.verdict is verdict for each in found) for verdict in Verdict},
    )
    return respond(request, "analyses/findings.html", page)
