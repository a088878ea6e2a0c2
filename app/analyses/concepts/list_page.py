"""`/runs/{run}/concepts`: all concepts with what is known of their keys, and the form to define one."""

from dataclasses import dataclass
from typing import Annotated

import duckdb
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Labeler, Person, Visitor
from keyscope.app.analyses.concepts.form import (
    KINDS,
    ConceptForm,
    PatternField,
    Tried,
    fields_of,
    form_of,
    try_out,
    untried,
)
from keyscope.app.analyses.concepts.state import state_of
from keyscope.app.analyses.state import AnalysisState
from keyscope.app.concepts import repository
from keyscope.app.concepts.lookup import all_concepts, find_concept
from keyscope.app.concepts.repository import ConceptChanged, KnownConcept, NameTaken
from keyscope.app.database.engine import Database
from keyscope.app.queries.concepts import ConceptSummary, concept_summaries
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, LiveJobs, OpenRun, PatternPreviews
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Frame, Help, MaskText, Page, links_of, respond
from keyscope.app.web.security import CrossSiteRequest, from_other_site
from keyscope.contract.concepts import Concept, InvalidConcept
from keyscope.contract.wire import JobOptions

router = APIRouter()
_OTHER_SITE = "another site led here, so this pattern was not tried: change it, or try the patterns yourself"


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
async def concepts_page(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    visitor: Visitor,
    previews: PatternPreviews,
    state: Annotated[ConceptsState, Query()],
) -> HTMLResponse:
    """All concepts; with patterns in the address, also what they match, unless another site led here."""
    form = await run_in_threadpool(_begun, cursor, database, state)
    status = 200
    if not form.patterns:
        tried = []
    elif from_other_site(request):
        tried, status = untried(run, form, _OTHER_SITE), CrossSiteRequest.status
    else:
        tried = await try_out(request, previews, visitor, run, form)
    return await run_in_threadpool(_page, request, run, cursor, database, visitor, form, tried, status, mask=state.mask)


@router.post("/runs/{run}/concepts", name="save_concept")
async def save_concept(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    person: Labeler,
    previews: PatternPreviews,
    form: Annotated[ConceptForm, Form()],
    mask: MaskText = "",
) -> Response:
    """Save the concept and show it; what cannot be saved comes back with the reason."""
    try:
        concept = await run_in_threadpool(_saved, database, person, form)
    except (InvalidConcept, NameTaken, ConceptChanged) as error:
        tried = await try_out(request, previews, person, run, form)
        return await run_in_threadpool(
            _page, request, run, cursor, database, person, form, tried, error.status, error.detail, mask
        )
    href = Links(request, Basket(run.run_id), mask).page("concept_page", run=run.run_id, concept=concept.name)
    return RedirectResponse(href, status_code=303)


@router.post("/runs/{run}/concepts/compute", name="compute_concept")
async def compute_concept(
    request: Request,
    run: OpenRun,
    jobs: LiveJobs,
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
    await jobs.start(run.manifest, JobOptions(run=run.run_id, kind="concepts", settings=settings))
    return RedirectResponse(
        Links(request, Basket(run.run_id), mask).page("concept_page", run=run.run_id, concept=name), status_code=303
    )


def _begun(cursor: duckdb.DuckDBPyConnection, database: Database, state: ConceptsState) -> ConceptForm:
    """The form as the address fills it, or with the concept that it begins from."""
    begun = state.change or state.copy_of
    if not begun:
        return state
    known = find_concept(cursor, database, begun)
    return form_of(known, copy=not state.change or known.shipped)


def _saved(database: Database, person: Person, form: ConceptForm) -> Concept:
    concept = form.concept()
    database.write(lambda session: repository.save_concept(session, concept, person.name, form.based_on))
    return concept


def _page(
    request: Request,
    run: Run,
    cursor: duckdb.DuckDBPyConnection,
    database: Database,
    visitor: Person | None,
    form: ConceptForm,
    tried: list[Tried],
    status: int,
    problem: str | None = None,
    mask: str = "",
) -> HTMLResponse:
    links = links_of(request, run.run_id, mask)
    known, unread = all_concepts(cursor, database)
    found = concept_summaries(cursor)
    page = ConceptsPage(
        frame=Frame.of_run("Concepts", links, run.manifest),
        analysis=state_of(run),
        rows=[_row(each, found, run, links) for each in known],
        form=form,
        fields=fields_of(run, form),
        kinds=KINDS,
        tried=tried,
        form_href=links.page("save_concept", run=run.run_id),
        try_href=links.to("concepts_page", run=run.run_id),
        may_define=True if visitor is None else visitor.role.may(Role.LABELER),
        problem=problem or unread,
    )
    return respond(request, "analyses/concepts.html", page, status)


def _row(known: KnownConcept, found: dict[str, ConceptSummary], run: Run, links: Links) -> ConceptRow:
    concept = known.concept
    languages = [language for language in run.manifest.languages if language in concept.patterns]
    return ConceptRow(
        known, found.get(concept.part), languages, links.page("concept_page", run=run.run_id, concept=concept.name)
    )
