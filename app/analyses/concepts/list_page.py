"""`/runs/{run}/concepts`: all concepts with what is known of their keys, and the form to define one."""

from dataclasses import dataclass
from typing import Annotated

import duckdb
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Labeler, Person, Visitor
from keyscope.app.analyses.concepts.form import KINDS, ConceptForm, PatternField, Tried, fields_of, form_of, try_out
from keyscope.app.analyses.concepts.state import state_of
from keyscope.app.analyses.state import AnalysisState
from keyscope.app.concepts import repository
from keyscope.app.concepts.lookup import all_concepts, find_concept
from keyscope.app.concepts.repository import ConceptChanged, KnownConcept, NameTaken
from keyscope.app.database.engine import Database
from keyscope.app.live import jobs
from keyscope.app.queries.concepts import ConceptSummary, concept_summaries
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, LiveWorkers, OpenRun
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond
from keyscope.contract.concepts import InvalidConcept
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import JobOptions

router = APIRouter()


class ConceptsState(ConceptForm):
    """The state of the page, as in its address: what the form holds so far."""

    change: str = ""
    """A saved concept to change."""
    copy_of: str = ""
    """A concept to duplicate."""
    mask: str = ""


@dataclass(frozen=True, slots=True)
class ConceptRow:
    known: KnownConcept
    found: ConceptSummary | None
    """None until it is computed with its current definition."""
    languages: list[str]
    """Languages of the run it has a pattern for."""
    href: str


@dataclass(frozen=True, slots=True)
class ConceptsPage(Page):
    analysis: Annotated[AnalysisState, Help("How the shipped concepts were computed, or how to compute them")]
    rows: Annotated[list[ConceptRow], Help("Concepts with what is known of their keys")]
    form: Annotated[ConceptForm, Help("What the form holds")]
    fields: Annotated[list[PatternField], Help("The pattern of each language in the form")]
    kinds: Annotated[dict[str, str], Help("Kinds of patterns with their titles")]
    tried: Annotated[list[Tried], Help("What the patterns in the form match in windows of the run")]
    form_href: Annotated[str, Help("Where the form is sent")]
    try_href: Annotated[str, Help("Address of this page, which tries the patterns")]
    may_define: Annotated[bool, Help("Whether the visitor may define concepts")]
    problem: Annotated[str | None, Help("Why the concept was not saved, or why saved ones are missing")]


@router.get("/runs/{run}/concepts", name="concepts_page")
def concepts_page(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    visitor: Visitor,
    state: Annotated[ConceptsState, Query()],
) -> HTMLResponse:
    """All concepts; with patterns in the address, also what they match."""
    begun = state.change or state.copy_of
    form: ConceptForm = state
    if begun:
        known = find_concept(cursor, database, begun)
        form = form_of(known, copy=not state.change or known.shipped)
    return _page(request, run, cursor, database, visitor, form, mask=state.mask)


@router.post("/runs/{run}/concepts", name="save_concept")
def save_concept(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    person: Labeler,
    form: Annotated[ConceptForm, Form()],
    mask: MaskText = "",
) -> Response:
    """Save the concept and show it; what cannot be saved comes back with the reason."""
    try:
        concept = form.concept()
        database.write(lambda session: repository.save_concept(session, concept, person.name, form.based_on))
    except (InvalidConcept, NameTaken, ConceptChanged) as error:
        return _page(request, run, cursor, database, person, form, problem=error, mask=mask)
    href = Links(request, Basket(run.run_id), mask).page("concept_page", run=run.run_id, concept=concept.name)
    return RedirectResponse(href, status_code=303)


@router.post("/runs/{run}/concepts/compute", name="compute_concept")
async def compute_concept(
    request: Request,
    run: OpenRun,
    workers: LiveWorkers,
    database: LabelsDatabase,
    person: Labeler,
    name: Annotated[str, Form()],
    mask: MaskText = "",
) -> RedirectResponse:
    """Have a worker find the keys of a saved concept, and return to the page that shows the progress.

    Raises:
        UnknownConcept: there is no concept of that name.
        NoJobs, WorkerUnavailable, WorkerRefused, WorkerFailed: nothing was started.
    """
    known = await run_in_threadpool(database.read, lambda session: repository.get_concept(session, name))
    concept = known.concept
    definition = concept.model_dump(mode="json", exclude_none=True)
    settings = {"concept": concept.part, "definition": definition}
    await jobs.start_job(workers, run.manifest, JobOptions(run=run.run_id, kind="concepts", settings=settings))
    return RedirectResponse(
        Links(request, Basket(run.run_id), mask).page("concept_page", run=run.run_id, concept=name), status_code=303
    )


def _page(
    request: Request,
    run: Run,
    cursor: duckdb.DuckDBPyConnection,
    database: Database,
    visitor: Person | None,
    form: ConceptForm,
    problem: KeyscopeError | None = None,
    mask: str = "",
) -> HTMLResponse:
    links = links_of(request, run.run_id, mask)
    known, unread = all_concepts(cursor, database)
    found = concept_summaries(cursor)
    page = ConceptsPage(
        frame=Frame.of_run("Concepts", links, run.manifest, "concepts_page"),
        analysis=state_of(run),
        rows=[_row(each, found, run, links) for each in known],
        form=form,
        fields=fields_of(run, form),
        kinds=KINDS,
        tried=try_out(run, cursor, form),
        form_href=links.page("save_concept", run=run.run_id),
        try_href=links.to("concepts_page", run=run.run_id),
        may_define=True if visitor is None else visitor.role.may(Role.LABELER),
        problem=problem.detail if problem else unread,
    )
    return respond(request, "analyses/concepts.html", page, problem.status if problem else 200)


def _row(known: KnownConcept, found: dict[str, ConceptSummary], run: Run, links: Links) -> ConceptRow:
    concept = known.concept
    languages = [language for language in run.manifest.languages if language in concept.patterns]
    return ConceptRow(
        known, found.get(concept.part), languages, links.page("concept_page", run=run.run_id, concept=concept.name)
    )
