"""`/runs/{run}/search`: find keys by the tokens they promote, suppress or fire on, by statistics, labels and analyses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from keyscope.app.labels.models import Kind
from keyscope.app.queries.criteria import ANY_SHAPE, NUMERIC, Between, InARow
from keyscope.app.queries.search import NOTHING, Found, Hit, known_concepts, search
from keyscope.app.queries.tokens import Vocabulary, parse_token
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.dependencies import Cursor, LabelsDatabase, OpenRun
from keyscope.app.web.forms import PageState, see_other
from keyscope.app.web.key_table import (
    VIEW,
    Choice,
    Column,
    Href,
    Pager,
    Row,
    pager,
    shown_statistics,
    similar_tokens,
    sorting,
    statistic_columns,
    view_choices,
)
from keyscope.app.web.links import Basket, Links
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond
from keyscope.app.web.search_query import NEEDS, AnalysisMissing, Number, SearchParameters, build_search, format_ranges
from keyscope.app.web.statistics import Statistic
from keyscope.contract.analyses.firing import CLASSES, SHAPES
from keyscope.contract.analyses.syntax import ROLES
from keyscope.contract.keys import KeyId, Mask

router = APIRouter()

PAGE_SIZE = 50
MASKED = 200
"""Keys that one click masks; few, because every address carries the basket."""
LISTED = 1000
"""Keys that one click puts into a new list."""
BAR = 46
"""Height of the tallest bar, in pixels."""
TOKENS = {
    "q": "fires on or promotes",
    "promotes": "promotes",
    "suppresses": "suppresses",
    "fires_on": "fires on",
    "detects": "detects",
}
"""Token fields and what keys do with the token."""
MEASURES = {
    "in_a_row": ("triggers", "Triggers of the key within these tokens in a row"),
    "fires_on": ("hits", "Stored triggers and samples of the key on the token"),
    "promoted_logit": ("logit", "Added to the token's logit per unit of coefficient"),
    "promoted_rank": ("rank", "Rank of the token among those the value promotes"),
    "suppressed_logit": ("logit", "Subtracted from the token's logit per unit of coefficient"),
    "suppressed_rank": ("rank", "Rank of the token among those the value suppresses"),
    "detected": ("occurrences", "Occurrences of the token in the corpus on which the key fires"),
    "role_share": ("of triggers", "Share of the key's triggers with the role"),
    "position_nats": ("nats on position", "Mutual information of firing and position in the window, in nats"),
    "concept_precision": ("precision", "Share of the tokens the key fires strongly on that match the concept"),
}
"""Column title and explanation of what each criterion measures."""
SHAPES_OFFERED = {ANY_SHAPE: "Sensitive to position, wherever it fires more", **SHAPES}
Option = tuple[str, str]
"""A value of a field, and what it is called."""
SHARES = {"role_share", "concept_precision"}
SIGNED = {"promoted_logit", "suppressed_logit", "own_logit"}


class SearchState(SearchParameters, PageState):
    """The state of the page in its address; the form sends one more range in fields of its own."""

    columns: str = Field("overview", pattern=VIEW)
    offset: int = Field(0, ge=0, le=2**31)
    statistic: str = ""
    low: Number = None
    high: Number = None

    def settled(self) -> "SearchState":
        """The state with the form's range merged into `ranges`.

        Raises:
            InvalidParameter: there is no such statistic.
        """
        kept = self.between()
        if self.statistic and (self.low is not None or self.high is not None):
            added = Between(self.statistic, self.low, self.high)
            kept = [*(each for each in kept if each.statistic != self.statistic), added]
        return self.model_copy(update={"ranges": format_ranges(kept), "statistic": "", "low": None, "high": None})


@dataclass(frozen=True, slots=True)
class TokenNote:
    """A token in the query."""

    does: str
    """What the found keys do with it."""
    token: str
    known: bool
    """False if the tokenizer has no such token, so nothing is found."""
    alike: list[Choice]
    """Tokens that differ from it in white space or case."""


@dataclass(frozen=True, slots=True)
class RangeChip:
    """An active range and the address without it."""

    text: str
    without: str


@dataclass(frozen=True, slots=True)
class LayerBar:
    """Number of keys found in a layer, and the search within it."""

    layer: int
    keys: int
    height: int
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class SearchPage(Page):
    state: Annotated[SearchState, Help("Criteria, order and place, as in the address")]
    asked: Annotated[bool, Help("Whether there is any criterion")]
    row: Annotated[InARow | None, Help("The tokens in a row asked for, and how many keys were checked for them")]
    notes: Annotated[list[TokenNote], Help("The tokens asked for")]
    ranges: Annotated[list[RangeChip], Help("Active ranges of statistics")]
    statistics: Annotated[list[Statistic], Help("Statistics a range can be set for")]
    options: Annotated[
        Mapping[str, list[Option]], Help("What fields that are chosen from a list offer, beside anything")
    ]
    shapes: Annotated[Mapping[str, str], Help("Position profiles and what they mean")]
    classes: Annotated[Mapping[str, str], Help("Classes of keys by their weights, and what they mean")]
    missing: Annotated[
        dict[str, str],
        Help("Kinds of analysis that the criteria need and that are not computed, with the address of their jobs"),
    ]
    needs: Annotated[Mapping[str, str], Help("Fields that need an analysis, with its kind")]
    unavailable: Annotated[set[str], Help("Fields that cannot be used, because their analysis is not computed")]
    by_layer: Annotated[list[LayerBar], Help("How many keys were found in each layer")]
    views: Annotated[list[Choice], Help("Groups of columns to choose from")]
    columns: Annotated[list[Column], Help("Columns of the table: what the criteria measured, then statistics")]
    rows: Annotated[list[Row], Help("Keys on this page of the table")]
    pager: Annotated[Pager, Help("Which of the keys found are shown")]
    to_mask: Annotated[int, Help("How many of the keys found, from the first, are masked together")]
    mask_href: Annotated[str, Help("Address of the live page with these in the basket")]
    to_list: Annotated[list[KeyId], Help("The keys found, from the first, that a new list is made of")]
    exports: Annotated[dict[str, str], Help("Addresses of all keys found as CSV and Parquet")]


@router.get("/runs/{run}/search", name="search_page")
def search_page(
    request: Request,
    run: OpenRun,
    cursor: Cursor,
    database: LabelsDatabase,
    state: Annotated[SearchState, Query()],
    links: RunLinks,
) -> Response:
    """Search a run."""
    settled = state.settled()
    if settled != state or "" in request.query_params.values():
        # Canonical address: only what was chosen, so equal searches have equal addresses.
        return see_other(links.page("search_page", run=run.run_id, **settled.query()))
    concepts = run.recall(known_concepts, cursor)
    try:
        wanted = build_search(settled, run, database)
    except AnalysisMissing as needed:
        return respond(request, "keys/search.html", _page(run, links, settled, NOTHING, concepts, needed.kinds))
    found = run.recall(search, cursor, run.vocabulary, wanted, PAGE_SIZE, settled.offset, max(MASKED, LISTED))
    return respond(request, "keys/search.html", _page(run, links, settled, found, concepts, row=wanted.row))


def _page(
    run: Run,
    links: Links,
    state: SearchState,
    found: Found,
    concepts: list[str],
    missing: Sequence[str] = (),
    row: InARow | None = None,
) -> SearchPage:
    def href(**changes: object) -> str:
        return links.page("search_page", run=run.run_id, **state.query(**changes))

    shown = shown_statistics(state.columns, found.sort)
    measures = list(found.measures)
    to_mask = found.names(0, MASKED)
    return SearchPage(
        frame=Frame.of_run("Search", links, run.manifest),
        state=state,
        asked=bool(state.criteria(run.manifest.model.n_layers) or state.label or state.sequence),
        row=row,
        notes=_notes(state, run.vocabulary, href),
        ranges=_chips(state, href),
        statistics=[Statistic(column) for column in NUMERIC.values()],
        options=_options(run, concepts),
        shapes=SHAPES_OFFERED,
        classes=CLASSES,
        missing={kind: links.page("jobs_page", run=run.run_id, kind=kind) for kind in missing},
        needs=NEEDS,
        unavailable={field for field, kind in NEEDS.items() if kind not in {kind for kind, _ in run.analyses}},
        by_layer=_bars(found.by_layer(run.manifest.model.n_layers), state, href),
        views=view_choices(state.columns, href),
        columns=[
            *(_measure_column(name, found, href) for name in measures),
            *statistic_columns(shown, found.sort, found.order, href),
        ],
        rows=[_row(hit, measures, shown, run.vocabulary) for hit in found.hits],
        pager=pager(found.total, len(found.hits), state.offset, PAGE_SIZE, href),
        to_mask=len(to_mask),
        mask_href=links.with_basket(_with(links.basket, run.run_id, to_mask)).live(run.run_id),
        to_list=found.names(0, LISTED),
        exports=links.exports("export_search", run=run.run_id, **state.query(columns="overview", offset=0)),
    )


def _options(run: Run, concepts: list[str]) -> dict[str, list[Option]]:
    return {
        "language": [(each, formats.language(each)) for each in run.manifest.languages],
        "role": [(each, each.replace("_", " ")) for each in ROLES],
        "concept": [(each, each) for each in concepts],
        "shape": [(each, "anywhere" if each == ANY_SHAPE else each) for each in SHAPES_OFFERED],
        "weight_class": [(each, f"{each} keys") for each in CLASSES],
        "dead": [("yes", "only these"), ("no", "none of these")],
        "label": [(each.value, each.value) for each in Kind],
    }


def _notes(state: SearchState, vocabulary: Vocabulary, href: Href) -> list[TokenNote]:
    notes = []
    for name, does in TOKENS.items():
        if typed := getattr(state, name):
            alike = similar_tokens(vocabulary, name, typed, href)
            notes.append(TokenNote(does, typed, bool(vocabulary.ids(parse_token(typed))), alike))
    return notes


def _chips(state: SearchState, href: Href) -> list[RangeChip]:
    ranges = state.between()
    return [
        RangeChip(_written(each), href(ranges=format_ranges([other for other in ranges if other != each]), offset=0))
        for each in ranges
    ]


def _written(each: Between) -> str:
    title = Statistic(NUMERIC[each.statistic]).title
    if each.high is None:
        return f"{title} ≥ {formats.number(each.low)}"
    if each.low is None:
        return f"{title} ≤ {formats.number(each.high)}"
    return f"{formats.number(each.low)} ≤ {title} ≤ {formats.number(each.high)}"


def _bars(by_layer: list[int], state: SearchState, href: Href) -> list[LayerBar]:
    largest = max([*by_layer, 1])
    chosen = state.layer_from if state.layer_from == state.layer_to else None
    return [
        LayerBar(
            layer,
            keys,
            -(-BAR * keys // largest),
            href(layer_from=layer, layer_to=layer, offset=0),
            layer == chosen,
        )
        for layer, keys in enumerate(by_layer)
    ]


def _measure_column(name: str, found: Found, href: Href) -> Column:
    title, about = MEASURES[name] if name in MEASURES else (Statistic(NUMERIC[name]).title, NUMERIC[name].help)
    return Column(title, about, True, *sorting(name, found.sort, found.order, href, found.measures[name]))


def _row(hit: Hit, measures: list[str], shown: list[Statistic], vocabulary: Vocabulary) -> Row:
    values = [_measured(name, hit.measures[name]) for name in measures]
    return Row(hit.row, values + [each.show(hit.row.statistics, vocabulary) for each in shown])


def _measured(name: str, value: float | int | None) -> str:
    if not isinstance(value, float):
        return formats.count(value)
    if name in SIGNED:
        return formats.signed(value)
    return formats.share(value) if name in SHARES else formats.number(value)


def _with(basket: Basket, run_id: str, keys: list[KeyId]) -> Basket:
    """The basket with keys added; a new basket if the old one belongs to another run."""
    old = basket if basket.run_id == run_id else Basket(run_id)
    return replace(old, masks=(*old.masks, *(Mask(key) for key in keys if key not in old)))
