"""`/runs/{run}/layers/{layer}`: the keys of a layer on a map and in a sortable, filterable, paged table."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import duckdb
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from keyscope.app import queries
from keyscope.app.queries import KeyRow, LayerFilter, LayerSort, LayerSummary
from keyscope.app.queries.first_keys import clear_keys, varied_keys
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.dependencies import Cursor, Layer, OpenRun
from keyscope.app.web.forms import BlankIsNone, PageState
from keyscope.app.web.key_table import (
    VIEW,
    Choice,
    Column,
    Pager,
    Row,
    pager,
    shown_statistics,
    similar_tokens,
    statistic_columns,
    view_choices,
)
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, RunLinks, respond

router = APIRouter()

PAGE_SIZE = 50
STARTS = 5
"""Keys in each list of starting points."""
Percent = Annotated[Annotated[float, Field(ge=0, le=100)] | None, BlankIsNone]


class LayerState(PageState):
    """The state of a layer's page in its address."""

    sort: str = "maximum"
    order: Literal["asc", "desc"] = "desc"
    columns: str = Field("overview", pattern=VIEW)
    language: str = ""
    rate_from: Percent = None
    rate_to: Percent = None
    fires_on: str = ""
    offset: int = Field(0, ge=0, le=2**31)

    @property
    def where(self) -> LayerFilter:
        """The filter; percentages become shares."""
        return LayerFilter(
            language=self.language or None,
            min_firing_rate=None if self.rate_from is None else self.rate_from / 100,
            max_firing_rate=None if self.rate_to is None else self.rate_to / 100,
            token=self.fires_on or None,
        )


@dataclass(frozen=True, slots=True)
class LayerPage(Page):
    layer: Annotated[int, Help("The layer, from 0")]
    summary: Annotated[LayerSummary, Help("The layer in numbers")]
    state: Annotated[LayerState, Help("Sorting, filters and place, as in the address")]
    clear: Annotated[list[KeyRow], Help("Keys to start with whose triggers are mostly on one word")]
    varied: Annotated[list[KeyRow], Help("Keys to start with whose triggers are on many tokens")]
    views: Annotated[list[Choice], Help("Groups of columns to choose from")]
    columns: Annotated[list[Column], Help("Columns of the table")]
    rows: Annotated[list[Row], Help("Keys on this page of the table")]
    pager: Annotated[Pager, Help("Which of the keys that pass the filters are shown")]
    similar: Annotated[list[Choice], Help("Tokens that differ from the filter's in white space or case")]
    firing_layers: Annotated[list[Choice], Help("Layers with keys that fire on the token filtered by, and how many")]
    token_known: Annotated[bool, Help("False if the tokenizer does not have the filter's token")]
    exports: Annotated[dict[str, str], Help("Addresses of the table, filtered and sorted, as CSV and Parquet")]
    below: Annotated[str | None, Help("Address of the layer below")]
    above: Annotated[str | None, Help("Address of the layer above")]


@router.get("/runs/{run}/layers/{layer}", name="layer_page")
def layer_page(
    request: Request,
    run: OpenRun,
    layer: Layer,
    cursor: Cursor,
    state: Annotated[LayerState, Query()],
    links: RunLinks,
) -> HTMLResponse:
    """All keys of a layer."""
    sort = LayerSort(state.sort, state.order)
    asked = (run.vocabulary, layer, state.where, sort, PAGE_SIZE, state.offset)
    found = run.recall(queries.layer_page, cursor, *asked)
    shown = shown_statistics(state.columns, state.sort)

    def href(**changes: object) -> str:
        return links.layer(run.run_id, layer, **state.query(**changes))

    def beside(other: int) -> str | None:
        return links.layer(run.run_id, other, **state.query(offset=0)) if 0 <= other < n_layers else None

    n_layers = run.manifest.model.n_layers
    page = LayerPage(
        frame=Frame.of_run(f"Layer {layer}", links, run.manifest),
        layer=layer,
        summary=run.recall(queries.layer_summaries, cursor)[layer],
        state=state,
        clear=run.recall(clear_keys, cursor, run.vocabulary, STARTS, layer),
        varied=run.recall(varied_keys, cursor, run.vocabulary, STARTS, layer),
        views=view_choices(state.columns, href),
        columns=statistic_columns(shown, state.sort, state.order, href),
        rows=[Row(row, [each.show(row.statistics, run.vocabulary) for each in shown]) for row in found.rows],
        pager=pager(found.total, len(found.rows), state.offset, PAGE_SIZE, href),
        similar=similar_tokens(run.vocabulary, "fires_on", state.fires_on, href) if state.fires_on else [],
        firing_layers=_firing_layers(run, layer, cursor, state, links),
        token_known=found.token_known,
        exports=links.exports("export_layer_keys", run=run.run_id, layer=layer, **_export_query(state)),
        below=beside(layer - 1),
        above=beside(layer + 1),
    )
    return respond(request, "keys/layer.html", page)


def _firing_layers(
    run: Run, layer: int, cursor: duckdb.DuckDBPyConnection, state: LayerState, links: Links
) -> list[Choice]:
    if not state.fires_on:
        return []
    counts = run.recall(queries.layers_firing_on, cursor, run.vocabulary, state.fires_on)
    return [
        Choice(
            f"{run.manifest.model.stack}{number}: {formats.count(keys)}",
            links.layer(run.run_id, number, **state.query(offset=0)),
            number == layer,
        )
        for number, keys in counts.items()
    ]


def _export_query(state: LayerState) -> dict[str, object]:
    """The filters and the order as the export takes them."""
    return {**asdict(state.where), "sort": state.sort, "order": state.order}
