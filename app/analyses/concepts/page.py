"""`/runs/{run}/concepts/{concept}`: a concept in a run, with its matches, the keys that detect it and what chance gives."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import duckdb
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from keyscope.app.accounts.identity import Visitor
from keyscope.app.analyses.concepts.form import KINDS, PatternField
from keyscope.app.analyses.concepts.sections import sections
from keyscope.app.analyses.concepts.state import state_of
from keyscope.app.analyses.state import AnalysisState
from keyscope.app.concepts import repository
from keyscope.app.concepts.lookup import find_concept
from keyscope.app.concepts.repository import KnownConcept
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.queries.concepts import (
    ASCENDING,
    SORTS,
    ConceptExample,
    ConceptKey,
    ConceptLanguage,
    ConceptSummary,
    Overlap,
    Picker,
    concept_examples,
    concept_keys,
    concept_languages,
    concept_summaries,
    count_concept_keys,
    first_keys,
    overlaps,
)
from keyscope.app.queries.key_rows import rows_of
from keyscope.app.queries.layers import Order
from keyscope.app.queries.twin import twin_of
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.baskets import shortened
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, OpenRun
from keyscope.app.web.drawing import as_json
from keyscope.app.web.key_table import Column, Pager, Row, pager, sorting
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Crumb, Frame, Help, Page, RunLinks, respond
from keyscope.app.web.sections import Block, beside, find_figure
from keyscope.contract.analyses.concepts import KEY_SCORES
from keyscope.contract.keys import Mask

router = APIRouter()

PAGE_SIZE = 25
PICKERS: dict[Picker, tuple[str, str]] = {
    "fdr": ("hits", "Keys with more hits than chance gives, false discovery rate controlled, by p-value"),
    "auroc": ("AUROC", "All keys by how well their coefficient tells the concept's tokens from others"),
    "auroc_before": (
        "AUROC before",
        "All keys by how well their coefficient tells the tokens before the concept's, where the model predicts it",
    ),
    "causal": (
        "causal",
        "All keys by what they contribute to predicting the concept's tokens; by what masking them costs where that was tried",
    ),
    "any_hit": (
        "any hit",
        "Keys with a hit among their triggers, as in the paper; this rule has no order, so the order is random",
    ),
}
"""Pickers by name, each with its title and explanation."""
TITLES = {
    "rank_fdr": "by p",
    "q": "q, above random tokens",
    "distinct_q": "q, distinct",
    "twin_q": "q, against the twin",
    "rank_auroc": "by AUROC",
    "rank_auroc_before": "by AUROC before",
    "rank_causal": "by causal",
    "log_odds_z": "log odds z",
    "auroc": "AUROC",
    "auroc_before": "AUROC before",
}
COLUMNS = (
    "hits",
    "triggers",
    "q",
    "distinct_q",
    "twin_q",
    "precision",
    "recall",
    "lift",
    "auroc",
    "auroc_before",
    "log_odds_z",
    "causal",
    "predicted",
    "masked",
    "rank_fdr",
    "rank_auroc",
    "rank_auroc_before",
    "rank_causal",
)
"""Columns of the table, in order."""
SHARES = ("precision", "recall")


class ConceptState(BaseModel):
    """The state of the page, as in its address."""

    model_config = ConfigDict(extra="ignore")

    picker: Picker = "fdr"
    sort: str = Field("", pattern=f"^({'|'.join(SORTS)})?$")
    order: Literal["asc", "desc"] = "asc"
    offset: int = Field(0, ge=0, le=2**31)
    n: int = Field(20, ge=1, le=2000)
    mask: str = ""

    def query(self, **changes: object) -> dict[str, Any]:
        """The parameters of the address after the changes, without defaults and the basket."""
        return self.model_copy(update=changes).model_dump(exclude_defaults=True, exclude={"mask"})

    @property
    def sorted_by(self) -> str:
        """What the keys are sorted by; the picker's rank by default."""
        return self.sort or f"rank_{self.picker}"


@dataclass(frozen=True, slots=True)
class PickerTab:
    name: Picker
    title: str
    help: str
    current: bool
    href: str


@dataclass(frozen=True, slots=True)
class ConceptPage(Page):
    known: Annotated[KnownConcept, Help("The concept, and who defined it when")]
    state: Annotated[ConceptState, Help("Picker, sorting and place, as in the address")]
    patterns: Annotated[list[PatternField], Help("The definition, by language")]
    versions: Annotated[list[KnownConcept], Help("Every version of the definition, latest first")]
    change_href: Annotated[str, Help("Address of the form, filled with this concept")]
    compute_href: Annotated[str, Help("Where the form that computes a saved concept is sent")]
    may_start: Annotated[bool, Help("Whether the visitor may have it computed")]
    analysis: Annotated[AnalysisState, Help("How the concept's keys were found, or how to find them")]
    found: Annotated[ConceptSummary | None, Help("The concept in numbers; None until it is computed")]
    languages: Annotated[list[ConceptLanguage], Help("The concept by language")]
    blocks: Annotated[list[Block], Help("Its keys by layer; empty until it is computed")]
    figures: Annotated[str, Help("Address of the figures, without their names")]
    examples: Annotated[list[ConceptExample], Help("Some matches in their code")]
    pickers: Annotated[list[PickerTab], Help("Ways to pick the concept's keys")]
    columns: Annotated[list[Column], Help("Columns of the table of keys")]
    rows: Annotated[list[Row], Help("Keys on this page of the table")]
    pager: Annotated[Pager, Help("Which of the keys stored for the concept are shown")]
    exports: Annotated[dict[str, str], Help("Addresses of the keys of all concepts as files")]
    overlaps: Annotated[list[Overlap], Help("How many of their first keys each pair of pickers shares")]
    basket: Annotated[list[Mask], Help("The first keys of the picker, to be masked")]
    try_href: Annotated[
        str, Help("Where the form is sent that masks the first keys and tries a prompt with the concept")
    ]


@router.get("/runs/{run}/concepts/{concept}", name="concept_page")
def concept_page(
    request: Request,
    run: OpenRun,
    concept: str,
    cursor: Cursor,
    database: LabelsDatabase,
    visitor: Visitor,
    state: Annotated[ConceptState, Query()],
    links: RunLinks,
) -> HTMLResponse:
    known = find_concept(cursor, database, concept)
    part, found = known.concept.part, concept_summaries(cursor).get(known.concept.part)

    def href(**changes: object) -> str:
        return links.page("concept_page", run=run.run_id, concept=concept, **state.query(**changes))

    keys = concept_keys(cursor, part, state.sorted_by, state.order, PAGE_SIZE, state.offset)
    above = Crumb("concepts", links.page("concepts_page", run=run.run_id))
    page = ConceptPage(
        frame=Frame.of_run(known.concept.title, links, run.manifest, above),
        known=known,
        state=state,
        patterns=[
            PatternField(language, KINDS[each.kind], each.text) for language, each in known.concept.patterns.items()
        ],
        versions=_versions(database, known),
        change_href=links.page("concepts_page", run=run.run_id, **{"copy_of" if known.shipped else "change": concept})
        + "#define",
        compute_href=links.page("compute_concept", run=run.run_id),
        may_start=visitor is None or visitor.role.may(Role.LABELER),
        analysis=state_of(run, known.concept),
        found=found,
        languages=concept_languages(cursor, part),
        blocks=_blocks(cursor, found) if found else [],
        figures=links.to("concept_page", run=run.run_id, concept=concept) + "/figures",
        examples=concept_examples(cursor, part),
        pickers=[
            PickerTab(picker, title, about, picker == state.picker, href(picker=picker, sort="", order="asc", offset=0))
            for picker, (title, about) in PICKERS.items()
        ],
        columns=[_column(each, state, href) for each in COLUMNS],
        rows=_rows(run, cursor, keys),
        pager=pager(count_concept_keys(cursor, part), len(keys), state.offset, PAGE_SIZE, href),
        exports=links.exports("export_analysis_table", run=run.run_id, table="concept_keys"),
        overlaps=overlaps(cursor, part, state.n),
        basket=[Mask(key) for key in first_keys(cursor, part, state.picker, state.n)],
        try_href=links.to("try_concept", run=run.run_id, concept=concept),
    )
    return respond(request, "analyses/concept.html", page)


@router.post("/runs/{run}/concepts/{concept}/try", name="try_concept")
def try_concept(
    request: Request,
    run: OpenRun,
    concept: str,
    cursor: Cursor,
    database: LabelsDatabase,
    picker: Annotated[Picker, Query()] = "fdr",
    n: Annotated[int, Query(ge=1, le=2000)] = 20,
    example: Annotated[int, Query(ge=0)] = 0,
) -> RedirectResponse:
    """Mask the first keys of a picker on the live page, with a prompt that ends with a match of the concept."""
    part = find_concept(cursor, database, concept).concept.part
    masks = tuple(Mask(key) for key in first_keys(cursor, part, picker, n))
    prompts = [each.before + each.match for each in concept_examples(cursor, part)]
    links = Links(request, shortened(database, Basket(run.run_id, masks)))
    return RedirectResponse(links.live(run.run_id, prompt=prompts[example] if example < len(prompts) else ""), 303)


@router.get("/runs/{run}/concepts/{concept}/figures/{figure}", name="concept_figure")
def concept_figure(run: OpenRun, concept: str, cursor: Cursor, database: LabelsDatabase, figure: str) -> Response:
    found = concept_summaries(cursor).get(find_concept(cursor, database, concept).concept.part)
    return as_json(find_figure(sections(cursor, found) if found else (), figure))


def _blocks(cursor: duckdb.DuckDBPyConnection, found: ConceptSummary) -> list[Block]:
    """The sections, with the numbers of the run's twin beside its own."""
    blocks = list(sections(cursor, found))
    with twin_of(cursor) as twin:
        summary = concept_summaries(twin[0]).get(found.part) if twin else None
        of_twin = {each.name: each for each in sections(twin[0], summary)} if twin and summary else {}
    return [beside(each, of_twin[each.name]) if each.name in of_twin else each for each in blocks]


def _versions(database: Database, known: KnownConcept) -> list[KnownConcept]:
    try:
        return list(database.read(lambda session: repository.versions(session, known.concept.name)))
    except DatabaseUnavailable:
        return []


def _column(name: str, state: ConceptState, href: Any) -> Column:
    column = next(column for column in KEY_SCORES if column.name == name)
    title = TITLES.get(name, name)
    first: Order = "asc" if name in ASCENDING else "desc"
    return Column(title, column.help, True, *sorting(name, state.sorted_by, state.order, href, first))


def _rows(run: Run, cursor: duckdb.DuckDBPyConnection, keys: list[ConceptKey]) -> list[Row]:
    shown = rows_of(cursor, run.vocabulary, [each.key for each in keys])
    return [
        Row(row, [_written(name, each.scores[name]) for name in COLUMNS]) for row, each in zip(shown, keys, strict=True)
    ]


def _written(name: str, value: Any) -> str:
    if name in SHARES:
        return formats.share(value)
    if isinstance(value, int):
        return formats.count(value)
    return formats.number(value)
