"""The JSON API of findings: the claims of the literature, each tried on a run."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from keyscope.app.analyses.claim import Verdict, beyond_chance
from keyscope.app.findings.report import findings
from keyscope.app.web import shapes as models
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, OpenRun

router = APIRouter(tags=["analyses"], route_class=RunRoute)


class FindingShape(BaseModel):
    """A claim and how it fared."""

    number: int = Field(description="Claims with the same number are about one experiment")
    title: str
    says: str = Field(description="The claim, in words")
    rule: str = Field(description="When a run counts as expected, and when as contrary")
    analysis: str | None = Field(description="Kind of analysis that has the figures; null if the run file has them")
    measured: str = Field(description="Figures with their intervals and n; empty if they are not computed")
    parts: list[str] = Field(description="The same for each thing the claim was tried on, such as each edit")
    verdict: Verdict
    twin: Verdict | None = Field(
        description="The same tried on the run's twin; null without one. A claim that the twin passes says nothing"
    )
    measured_on_twin: str = Field(description="Its figures; empty without a twin")


class FindingsAnswer(models.Answer):
    """Every claim, tried on a run."""

    findings: list[FindingShape]
    as_expected: int | None = Field(description="Claims that the run passes and its twin fails; null without a twin")
    twin_fails: int | None = Field(description="Claims that the twin fails")


@router.get("/runs/{run}/findings", responses=models.OF_A_RUN)
def list_findings(run: OpenRun, cursor: Cursor) -> FindingsAnswer:
    """Every claim, tried if its figures are computed."""
    found = findings(cursor, run.manifest)
    counted = beyond_chance(found)
    return FindingsAnswer(
        findings=[
            FindingShape(
                number=each.claim.number,
                title=each.claim.title,
                says=each.claim.says,
                rule=each.claim.rule,
                analysis=each.claim.kind,
                measured=each.measured.text,
                parts=list(each.measured.parts),
                verdict=each.measured.verdict,
                twin=each.twin and each.twin.verdict,
                measured_on_twin=each.twin.text if each.twin else "",
            )
            for each in found
        ],
        as_expected=counted and counted[0],
        twin_fails=counted and counted[1],
    )
