"""`/runs/{run}/findings`: the claims of the literature, each tried on this run."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from keyscope.app.analyses.claim import Finding, Verdict
from keyscope.app.analyses.state import analysis_state
from keyscope.app.findings.report import findings
from keyscope.app.web.dependencies import Cursor, OpenRun
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding, with the page that draws its figures and the command that computes them."""

    finding: Finding
    href: str
    command: str | None
    """Computes the figures; None if they exist."""


@dataclass(frozen=True, slots=True)
class FindingsPage(Page):
    """Every claim with its rule, figures and verdict."""

    findings: Annotated[list[Shown], Help("Every claim, tried if its figures exist")]
    counts: Annotated[dict[Verdict, int], Help("How many claims have each verdict")]


@router.get("/runs/{run}/findings", name="findings_page")
def findings_page(request: Request, run: OpenRun, cursor: Cursor, links: RunLinks) -> HTMLResponse:
    """The claims of the literature, tried on a run."""
    found = findings(cursor, run.manifest)

    def shown(finding: Finding) -> Shown:
        kind = finding.claim.kind
        missing = finding.measured.verdict is Verdict.MISSING and kind is not None
        command = analysis_state(run, kind).command if missing and kind else None
        return Shown(finding, links.page(finding.claim.page, run=run.run_id), command)

    page = FindingsPage(
        frame=Frame.of_run("Findings", links, run.manifest),
        findings=[shown(finding) for finding in found],
        counts={verdict: sum(each.measured.verdict is verdict for each in found) for verdict in Verdict},
    )
    return respond(request, "analyses/findings.html", page)
