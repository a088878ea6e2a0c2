"""The pages of edits: those of a concept with the form that starts one, `/runs/{run}/edits`, and a single edit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import duckdb
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Labeler
from keyscope.app.analyses.edits.judging import Verdict, judge, verdicts
from keyscope.app.analyses.edits.sections import MEASURES, Headline, conclusion, headline, sections
from keyscope.app.analyses.state import analysis_state
from keyscope.app.concepts.lookup import find_concept
from keyscope.app.queries import edits as queries
from keyscope.app.queries.concepts import concept_summaries
from keyscope.app.queries.edits import Edit, Prompt
from keyscope.app.web.baskets import shortened
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, LiveJobs, OpenRun
from keyscope.app.web.drawing import as_json
from keyscope.app.web.forms import way_back
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Crumb, Frame, Help, Page, RunLinks, respond
from keyscope.app.web.sections import Block, find_figure
from keyscope.contract.analyses.edit import BASKET
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.keys import Mask
from keyscope.contract.wire import JobOptions

router = APIRouter()
drawn = APIRouter(route_class=RunRoute)

PICKERS = {
    "causal": "causal: contributing most to the concept's tokens",
    "auroc": "AUROC: best at telling the concept's tokens from others",
    "auroc_before": "AUROC a token before: best at telling where the concept comes next",
    "fdr": "more hits than chance gives, by p-value",
    "any_hit": "any hit among the triggers, in random order",
    BASKET: "the keys in your basket",
}
KEYS_SHOWN = 40


class EditForm(BaseModel):
    """An edit as requested in the form; shares are in per cent."""

    model_config = ConfigDict(extra="ignore")

    picker: Literal["any_hit", "fdr", "auroc", "auroc_before", "causal", "basket"] = "causal"
    percent: Annotated[
        float | None, BeforeValidator(lambda text: text or None), Field(gt=0, le=100, allow_inf_nan=False)
    ] = None
    """Without one the dose is chosen."""
    factor: float = Field(0.0, ge=-100, le=100, allow_inf_nan=False)
    draws: int = Field(20, ge=2, le=1000)
    tokens: int = Field(20_000, ge=1000, le=100_000_000)
    mask: str = ""
    """The basket."""
    next: str = ""

    def settings(self, concept: str) -> dict[str, Any]:
        """Settings of the analysis; a basket brings its own factors."""
        asked: dict[str, Any] = {"concept": concept, "picker": self.picker, "draws": self.draws, "tokens": self.tokens}
        if self.picker == BASKET:
            return {**asked, "basket": self.mask}
        share = {} if self.percent is None else {"share": self.percent / 100}
        return {**asked, **share, "factor": self.factor}


@dataclass(frozen=True, slots=True)
class ShownEdit:
    edit: Edit
    verdict: Verdict
    text: str
    """The verdict as a sentence."""
    href: str


@dataclass(frozen=True, slots=True)
class ConceptEditsPage(Page):
    """A concept's edits, on a page of their own and as a part of the concept's page."""

    title: Annotated[str, Help("What people call the concept")]
    ready: Annotated[bool, Help("Whether the concept's keys are known and can be masked")]
    edits: Annotated[list[ShownEdit], Help("The concept's edits that have been measured")]
    form: Annotated[EditForm, Help("Initial content of the form that starts an edit")]
    pickers: Annotated[dict[str, str], Help("Ways to pick the keys, each with its title")]
    start_href: Annotated[str, Help("Where the form is sent")]
    jobs_href: Annotated[str, Help("Address of the jobs that measure edits of the concept")]
    concept_href: Annotated[str, Help("Address of the concept's page")]


@dataclass(frozen=True, slots=True)
class EditsPage(Page):
    edits: Annotated[list[ShownEdit], Help("Every edit that has been measured")]
    command: Annotated[str, Help("The command that measures one")]


@dataclass(frozen=True, slots=True)
class EditPage(Page):
    edit: Annotated[Edit, Help("What was masked, and how much was measured")]
    verdict: Annotated[Verdict, Help("What the registered endpoint says, corrected for the run's other edits")]
    text: Annotated[str, Help("The verdict as a sentence")]
    headlines: Annotated[list[Headline], Help("What came of it by accuracy and by loss, for exploration")]
    recipe_href: Annotated[str, Help("Address of the recipe that computes it again")]
    blocks: Annotated[list[Block], Help("Figures and tables")]
    figures: Annotated[str, Help("Address of the figures, without their names")]
    masks: Annotated[list[tuple[Mask, str]], Help("The first masked keys, each with its address")]
    prompts: Annotated[list[Prompt], Help("Code to try it on, most harmed first")]
    try_href: Annotated[str, Help("Where the form that tries it is sent")]
    concept_href: Annotated[str, Help("Address of the concept's page")]
    made: Annotated[AnalysisManifest | None, Help("How it was computed")]


@router.get("/runs/{run}/concepts/{concept}/edits", name="concept_edits_page")
def concept_edits_page(
    request: Request, run: OpenRun, concept: str, cursor: Cursor, database: LabelsDatabase, links: RunLinks
) -> HTMLResponse:
    """The edits of a concept, and the form that starts another."""
    known = find_concept(cursor, database, concept).concept
    concept_href = links.page("concept_page", run=run.run_id, concept=concept)
    page = ConceptEditsPage(
        frame=Frame.of_run(f"Edits of {known.title}", links, run.manifest, Crumb(known.title, concept_href)),
        title=known.title,
        ready=known.part in concept_summaries(cursor),
        edits=_shown(cursor, links, run.run_id, queries.list_edits(cursor, known.part)),
        form=EditForm(picker="basket" if links.basket else "causal", mask=links.basket.text),
        pickers={picker: title for picker, title in PICKERS.items() if picker != BASKET or links.basket},
        start_href=links.to("start_edit", run=run.run_id, concept=concept),
        jobs_href=links.page("jobs_page", run=run.run_id, kind="edit", about=known.part),
        concept_href=concept_href,
    )
    return respond(request, "analyses/concept_edits.html", page)


@router.get("/runs/{run}/edits", name="edits_page")
def edits_page(request: Request, run: OpenRun, cursor: Cursor, links: RunLinks) -> HTMLResponse:
    page = EditsPage(
        frame=Frame.of_run("Edits", links, run.manifest),
        edits=_shown(cursor, links, run.run_id, queries.list_edits(cursor)),
        command=f"{analysis_state(run, 'edit').command} --set concept=numpy --set picker=causal",
    )
    return respond(request, "analyses/edits.html", page)


@router.get("/runs/{run}/edits/{edit}", name="edit_page")
def edit_page(request: Request, run: OpenRun, cursor: Cursor, edit: str, links: RunLinks) -> HTMLResponse:
    found = queries.get_edit(cursor, edit)
    masks = queries.masks(cursor, found)
    (verdict,) = verdicts(cursor, [found])
    concept = {"run": run.run_id, "concept": found.concept.rpartition("-")[0]}
    concept_href = links.page("concept_page", **concept)
    crumbs = Crumb(found.title, concept_href), Crumb("edits", links.page("concept_edits_page", **concept))
    page = EditPage(
        frame=Frame.of_run(f"Edit of {found.title}", links, run.manifest, *crumbs),
        edit=found,
        verdict=verdict,
        text=conclusion(found, verdict),
        recipe_href=links.to("edit_recipe", run=run.run_id, edit=edit),
        headlines=_headlines(cursor, found),
        blocks=list(sections(cursor, found)),
        figures=links.to("edit_page", run=run.run_id, edit=edit) + "/figures",
        masks=[(each, links.key(run.run_id, each.key)) for each in masks[:KEYS_SHOWN]],
        prompts=queries.prompts(cursor, edit),
        try_href=links.to("try_edit", run=run.run_id, edit=edit),
        concept_href=concept_href,
        made=run.analyses.get(("edit", edit)),
    )
    return respond(request, "analyses/edit.html", page)


@drawn.get("/runs/{run}/edits/{edit}/figures/{figure}", name="edit_figure")
def edit_figure(run: OpenRun, cursor: Cursor, edit: str, figure: str) -> Response:
    return as_json(find_figure(sections(cursor, queries.get_edit(cursor, edit)), figure))


@router.post("/runs/{run}/concepts/{concept}/edits", name="start_edit")
async def start_edit(
    request: Request,
    run: OpenRun,
    concept: str,
    cursor: Cursor,
    database: LabelsDatabase,
    jobs: LiveJobs,
    person: Labeler,
    form: Annotated[EditForm, Form()],
) -> RedirectResponse:
    """Have an edit of a concept measured, and go on to the page that shows the progress.

    Raises:
        UnknownConcept: there is no concept of that name.
        NoJobs, WorkerUnavailable, WorkerRefused, WorkerFailed: nothing was started.
    """
    known = await run_in_threadpool(find_concept, cursor, database, concept)
    asked = JobOptions(run=run.run_id, kind="edit", settings=form.settings(known.concept.part))
    await jobs.start(run.manifest, asked)
    return RedirectResponse(way_back(request, form.next), status_code=303)


@router.post("/runs/{run}/edits/{edit}/try", name="try_edit")
def try_edit(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    edit: str,
    prompt: Annotated[int, Query(ge=0)] = 0,
    at_means: Annotated[bool, Query(description="Hold the keys at their means instead of scaling them")] = False,
) -> RedirectResponse:
    """Mask the edit's keys on the live page, with code that a token of the concept follows."""
    found = queries.get_edit(cursor, edit)
    prompts = queries.prompts(cursor, edit)
    tried = prompts[prompt] if prompt < len(prompts) else None
    text = tried.prompt if tried else ""
    means = queries.mean_masks(cursor, found, tried.language) if at_means and tried else []
    basket = Basket(run.run_id, tuple(means or queries.masks(cursor, found)))
    links = Links(request, shortened(database, basket))
    return RedirectResponse(links.live(run.run_id, prompt=text, max_new_tokens=24), status_code=303)


def _shown(cursor: duckdb.DuckDBPyConnection, links: Links, run_id: str, found: Sequence[Edit]) -> list[ShownEdit]:
    return [
        ShownEdit(each, verdict, conclusion(each, verdict), links.page("edit_page", run=run_id, edit=each.edit))
        for each, verdict in zip(found, verdicts(cursor, found), strict=True)
    ]


def _headlines(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> list[Headline]:
    return [headline(edit, judge(cursor, edit, measure)) for measure in MEASURES]
