"""`/lens`: one prompt through the logit lens, token by token and layer by layer, and the keys behind each cell."""

import math
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from keyscope.app.accounts.identity import needs
from keyscope.app.database.engine import Database
from keyscope.app.live.activations import read_activations
from keyscope.app.live.client import LiveStatus, Workers
from keyscope.app.pages.live.reading import Reader, ReadingKey, probability, prompts_to_try
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web.code import SHADES
from keyscope.app.web.dependencies import LabelsDatabase, LiveWorkers
from keyscope.app.web.forms import PageState, Typed
from keyscope.app.web.links import Links
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ActivationsRequest, LensAnswer, LensCell, LensRequest

router = APIRouter(dependencies=[needs(Role.LABELER)])  # it costs compute

COLUMNS, MOST_COLUMNS = 24, 128
LISTED = 10
"""Tokens listed per cell."""
WRITERS = 20
"""Keys listed per cell."""


class LensState(PageState):
    """The state of the page in its address."""

    run: str = ""
    prompt: Typed = ""
    last: int = Field(COLUMNS, ge=1, le=MOST_COLUMNS)
    """How many of the prompt's last tokens are shown."""
    layer: int | None = Field(None, ge=0)
    """Layer and token of the cell whose keys are listed."""
    at: int | None = Field(None, ge=0)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a layer would predict after a token."""

    token: str
    probability: str
    css: str
    """Shade by probability; `own` if it is the whole model's prediction."""
    title: str
    """The most probable tokens, one a line."""
    label: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class GridRow:
    """One layer."""

    layer: int
    href: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """A prompt through the lens."""

    tokens: list[str]
    """Tokens shown, one per column."""
    left_out: int
    """Number of earlier tokens."""
    rows: list[GridRow]


@dataclass(frozen=True, slots=True)
class Writers:
    """The keys that promote a cell's token most."""

    layer: int
    after: str
    """Token after which it is predicted."""
    target: str
    probability: str
    keys: list[ReadingKey]


@dataclass(frozen=True, slots=True)
class LensPage(Page):
    state: Annotated[LensState, Help("Prompt and chosen cell, as in the address")]
    runs: Annotated[list[tuple[Manifest, str]], Help("Runs to choose from, each with its address")]
    status: Annotated[LiveStatus | None, Help("Whether the run's model can read now; None without a run")]
    status_href: Annotated[str, Help("Address of this page, to poll the status")]
    examples: Annotated[list[tuple[str, list[tuple[str, str]]]], Help("Prompts to try by language: title and address")]
    grid: Annotated[Grid | None, Help("Tokens and layers; None without a prompt")]
    writers: Annotated[Writers | None, Help("Keys behind the chosen cell; None if none is chosen")]
    problem: Annotated[str | None, Help("Why the prompt could not be read; None if it was")]


@router.get("/lens", name="lens_page")
async def lens_page(
    request: Request,
    chosen: ChosenRun,
    workers: LiveWorkers,
    database: LabelsDatabase,
    state: Annotated[LensState, Query()],
) -> HTMLResponse:
    """A prompt through the logit lens."""
    run, links = chosen.run, chosen.links
    grid, writers, problem = None, None, None
    if run is not None and state.prompt:
        try:
            grid, writers = await _read(run, workers, database, state, links)
        except KeyscopeError as error:
            problem = error.detail
    page = LensPage(
        frame=Frame("Logit lens", links, chosen.manifest),
        state=state,
        runs=[
            (each.manifest, links.page("lens_page", run=each.run_id, **state.query(layer=None, at=None)))
            for each in chosen.runs
        ],
        status=await workers.status(run.manifest) if run else None,
        status_href=links.page("lens_page", run=chosen.run_id),
        examples=prompts_to_try(
            chosen.manifest, lambda _, prompt: links.page("lens_page", run=chosen.run_id, prompt=prompt)
        ),
        grid=grid,
        writers=writers,
        problem=problem,
    )
    return respond(request, "live/lens.html", page)


async def _read(
    run: Run, workers: Workers, database: Database, state: LensState, links: Links
) -> tuple[Grid, Writers | None]:
    asked = LensRequest(run=run.run_id, text=state.prompt, top=LISTED, last=state.last)
    answer = await workers.lens(run.manifest, asked)
    reader = Reader(run, links, lambda other: other.page("lens_page", run=run.run_id, **state.query()))
    grid = _grid(answer, state, reader)
    chosen = _chosen(answer, state)
    if chosen is None or state.layer is None or state.at is None:
        return grid, None
    target = chosen.top[0]
    keys = await read_activations(
        run,
        workers,
        ActivationsRequest(
            run=run.run_id,
            text=state.prompt,
            token_index=state.at,
            layer=state.layer,
            target=target.token_id,
            limit=WRITERS,
        ),
        database,
    )
    after = reader.token(answer.tokens[state.at])
    predicted = reader.token(target)
    return grid, Writers(state.layer, after, predicted, probability(target.logprob), reader.keys(keys))


def _chosen(answer: LensAnswer, state: LensState) -> LensCell | None:
    """The chosen cell; None if none is chosen or the grid lacks it."""
    if state.layer is None or state.at is None or not answer.first <= state.at < len(answer.tokens):
        return None
    return answer.cells[state.layer][state.at - answer.first] if state.layer < len(answer.cells) else None


def _grid(answer: LensAnswer, state: LensState, reader: Reader) -> Grid:
    tokens = [reader.token(token) for token in answer.tokens[answer.first :]]
    own = [cell.top[0].token_id for cell in answer.cells[-1]]
    rows = []
    for layer, cells in enumerate(answer.cells):
        shown = []
        for at, (cell, token) in enumerate(zip(cells, tokens, strict=True), start=answer.first):
            agrees = cell.top[0].token_id == own[at - answer.first]
            shown.append(_cell(cell, layer, at, token, agrees, state, reader))
        rows.append(GridRow(layer, reader.links.layer(reader.run.run_id, layer), shown))
    return Grid(tokens, answer.first, rows)


def _cell(cell: LensCell, layer: int, at: int, token: str, agrees: bool, state: LensState, reader: Reader) -> Cell:
    best = cell.top[0]
    level = round(SHADES * math.exp(best.logprob))
    said, share = reader.token(best), probability(best.logprob)
    listed = [f"{reader.token(each)}\t{probability(each.logprob)}" for each in cell.top]
    head = f"layer {layer} after {token}"
    if not agrees:
        listed.append(f"the model’s own token has rank {cell.rank}, {probability(cell.logprob)}")
    return Cell(
        token=said,
        probability=share,
        css=" ".join(["t", *([f"s{level}"] if level else []), *(["own"] if agrees else [])]),
        title="\n".join([head, *listed]),
        label=f"{said} {share}, {head}",
        href=reader.links.page("lens_page", run=reader.run.run_id, **state.query(layer=layer, at=at)) + "#writers",
        current=(state.layer, state.at) == (layer, at),
    )
