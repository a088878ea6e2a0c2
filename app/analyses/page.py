"""A page that draws one kind of analysis: how it was computed, what is claimed about it, figures and tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import duckdb
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from keyscope.app.analyses.claim import Claim, Finding, tried
from keyscope.app.analyses.state import AnalysisState, analysis_state
from keyscope.app.database.engine import Database
from keyscope.app.queries.twin import twin_of
from keyscope.app.runs import Run
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, OpenRun
from keyscope.app.web.drawing import as_json
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond
from keyscope.app.web.sections import Block, beside, find_figure

Sections = Callable[[Run, duckdb.DuckDBPyConnection, Database], Iterator[Block]]
"""Makes the sections of a page, one by one, so that a figure costs no more than the sections up to its own."""


@dataclass(frozen=True, slots=True)
class AnalysisPage(Page):
    analysis: Annotated[AnalysisState, Help("How the analysis was computed, or how to compute it")]
    findings: Annotated[list[Finding], Help("Claims of the literature and what was measured; empty without analysis")]
    blocks: Annotated[list[Block], Help("Figures and tables, section by section; empty without analysis")]
    figures: Annotated[str, Help("Address of the figures, without their names")]


def analysis_router(kind: str, title: str, template: str, claims: Sequence[Claim], sections: Sections) -> APIRouter:
    """The routes of `/runs/{run}/KIND` and of its figures."""
    router, drawn = APIRouter(), APIRouter(route_class=RunRoute)

    @router.get(f"/runs/{{run}}/{kind}", name=f"{kind}_page")
    def page(request: Request, run: OpenRun, cursor: Cursor, database: LabelsDatabase, links: RunLinks) -> HTMLResponse:
        state = analysis_state(run, kind)
        there = state.manifest is not None
        shown = AnalysisPage(
            frame=Frame.of_run(title, links, run.manifest),
            analysis=state,
            findings=tried(claims, cursor, run.manifest) if there else [],
            blocks=_blocks(run, cursor, database) if there else [],
            figures=links.to(f"{kind}_page", run=run.run_id) + "/figures",
        )
        return respond(request, template, shown)

    def _blocks(run: Run, cursor: duckdb.DuckDBPyConnection, database: Database) -> list[Block]:
        blocks = list(sections(run, cursor, database))
        with twin_of(cursor) as twin:
            of_twin = {} if twin is None else {each.name: each for each in sections(run, twin[0], database)}
        return [beside(each, of_twin[each.name]) if each.name in of_twin else each for each in blocks]

    @drawn.get(f"/runs/{{run}}/{kind}/figures/{{figure}}", name=f"{kind}_figure")
    def figure_of_page(run: OpenRun, cursor: Cursor, database: LabelsDatabase, figure: str) -> Response:
        return as_json(find_figure(sections(run, cursor, database), figure))

    router.include_router(drawn)
    return router
