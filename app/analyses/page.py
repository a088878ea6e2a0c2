"""A page that draws one kind of analysis: how it was computed, what is claimed of it, figures and tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import duckdb
from fastapi import Request
from fastapi.responses import HTMLResponse

from keyscope.app.analyses.claim import Claim, Finding, tried
from keyscope.app.analyses.state import AnalysisState, analysis_state
from keyscope.app.runs import Run
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, basket_of, respond
from keyscope.app.web.sections import Block


@dataclass(frozen=True, slots=True)
class AnalysisPage(Page):
    """What a page about an analysis shows."""

    analysis: Annotated[AnalysisState, Help("How the analysis was computed, or how to compute it")]
    findings: Annotated[
        list[Finding], Help("What the literature says beside what was measured; empty without analysis")
    ]
    blocks: Annotated[list[Block], Help("Figures and tables, section by section; empty without analysis")]


class Subject(NamedTuple):
    """Which analysis a page is about."""

    kind: str
    title: str
    template: str
    claims: Sequence[Claim]


def respond_with_analysis(
    request: Request,
    run: Run,
    cursor: duckdb.DuckDBPyConnection,
    mask: str,
    subject: Subject,
    blocks: Callable[[Links], list[Block]],
) -> HTMLResponse:
    """The page; `blocks` draws the sections of an analysis that is there."""
    links = Links(request, basket_of(request, run.run_id, mask))
    state = analysis_state(run, subject.kind)
    there = state.manifest is not None
    page = AnalysisPage(
        frame=Frame.of_run(subject.title, links, run.manifest, f"{subject.kind}_page"),
        analysis=state,
        findings=tried(subject.claims, cursor, run.manifest) if there else [],
        blocks=blocks(links) if there else [],
    )
    return respond(request, subject.template, page)
