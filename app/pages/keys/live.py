"""What the model does with a key, for its page: what it says at a trigger, a text read by the key, and its neighbours.

Each is a part of the page, fetched when asked for. What a worker cannot answer is a sentence in its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from keyscope.app import queries
from keyscope.app.accounts.identity import needs
from keyscope.app.pages.keys import examples
from keyscope.app.queries.similar import Sharing, sharing_promoted, sharing_triggers
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.code import Heat
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Key, LiveWorkers, OpenRun
from keyscope.app.web.render import RunLinks, templates
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.wire import (
    Alternative,
    CoefficientsAnswer,
    CoefficientsRequest,
    Neighbour,
    NeighboursRequest,
    NextRequest,
)
from keyscope.serving.clients import unless_gone

router = APIRouter(dependencies=[needs(Role.LABELER)])  # it costs compute
of_run_files = APIRouter(route_class=RunRoute)

LISTED = 5
"""Tokens listed for each way to treat the key."""
LOUD = 20.0
"""The factor at which most keys show in the text what they promote."""
NEIGHBOURS = 10
LONGEST = 2000
"""Characters of a text to try."""


@dataclass(frozen=True, slots=True)
class Said:
    """A token that the model predicts."""

    token: str
    probability: str


@dataclass(frozen=True, slots=True)
class Column:
    """What the model predicts with the key treated in one way."""

    title: str
    said: list[Said]


@dataclass(frozen=True, slots=True)
class Tried:
    """A token of a text that somebody tries on a key."""

    text: str
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Near:
    """A neighbouring key."""

    key: KeyId
    href: str
    amount: str


@dataclass(frozen=True, slots=True)
class Sort:
    """Neighbours of one sort."""

    title: str
    about: str
    keys: list[Near]


@router.get("/runs/{run}/keys/{key}/examples/{name}/prediction", name="example_prediction")
async def example_prediction(request: Request, run: OpenRun, key: Key, workers: LiveWorkers, name: str) -> HTMLResponse:
    """What the model says after a trigger: as it is, without the key, and with the key loud."""

    def read() -> str:
        with run.reading() as cursor:
            return examples.text_up_to_trigger(run, cursor, key, name)

    text = await run_in_threadpool(read)

    ways = {"as it is": [], f"without {key}": [Mask(key)], f"× {LOUD:g}": [Mask(key, Scale(LOUD))]}
    asked = NextRequest(run=run.run_id, text=text, masks=list(ways.values()), top=LISTED)
    try:
        answer = await unless_gone(request, workers.next_token(run.manifest, asked))
    except KeyscopeError as error:
        return _part("prediction", columns=[], problem=error.detail)
    columns = [_column(run, title, branch.top) for title, branch in zip(ways, answer.branches, strict=True)]
    return _part("prediction", columns=columns, problem=None)


@router.get("/runs/{run}/keys/{key}/try", name="try_text")
async def try_text(
    request: Request, run: OpenRun, key: Key, workers: LiveWorkers, text: Annotated[str, Query(max_length=LONGEST)] = ""
) -> HTMLResponse:
    """The key's coefficient at each token of a text, in the shades of its page."""
    if not text:
        return _part("tried", tokens=[], problem=None, summary="")
    asked = CoefficientsRequest(run=run.run_id, text=text, keys=[str(key)])
    try:
        answer = await unless_gone(request, workers.coefficients(run.manifest, asked))
    except KeyscopeError as error:
        return _part("tried", tokens=[], problem=error.detail, summary="")
    return await run_in_threadpool(_tried, run, key, answer)


@of_run_files.get("/runs/{run}/keys/{key}/similar", name="similar_keys")
def similar_keys(run: OpenRun, key: Key, cursor: Cursor, links: RunLinks) -> HTMLResponse:
    """Keys that are like the key by what the run file has."""

    def near(found: Sequence[Sharing]) -> list[Near]:
        return [Near(each.key, links.key(run.run_id, each.key), formats.count(each.shared)) for each in found]

    return _part(
        "similar",
        sorts=[
            Sort("fire at the same places", "triggers in common", near(sharing_triggers(cursor, key, NEIGHBOURS))),
            Sort("promote the same tokens", "tokens in common", near(sharing_promoted(cursor, key, NEIGHBOURS))),
        ],
        problem=None,
    )


@router.get("/runs/{run}/keys/{key}/neighbours", name="neighbouring_keys")
async def neighbouring_keys(
    request: Request, run: OpenRun, key: Key, workers: LiveWorkers, links: RunLinks
) -> HTMLResponse:
    """Keys near the key by the model's weights."""
    asked = NeighboursRequest(run=run.run_id, key=str(key), limit=NEIGHBOURS)
    try:
        answer = await unless_gone(request, workers.neighbours(run.manifest, asked))
    except KeyscopeError as error:
        return _part("similar", sorts=[], problem=error.detail)

    def near(found: Sequence[Neighbour]) -> list[Near]:
        keys = [(KeyId.parse(each.key), each.amount) for each in found]
        return [Near(each, links.key(run.run_id, each), formats.fixed(amount, 2)) for each, amount in keys]

    sorts = [
        Sort("write alike", "cosine of the values", near(answer.similar)),
        Sort("upstream: write what it reads", "value times key vector", near(answer.upstream)),
        Sort("downstream: read what it writes", "value times key vector", near(answer.downstream)),
    ]
    return _part("similar", sorts=sorts, problem=None)


def _column(run: Run, title: str, top: Sequence[Alternative]) -> Column:
    return Column(
        title,
        [Said(formats.token(run.vocabulary[each.token_id]), formats.share(math.exp(each.logprob))) for each in top],
    )


def _tried(run: Run, key: KeyId, answer: CoefficientsAnswer) -> HTMLResponse:
    [along] = answer.keys
    with run.reading() as cursor:
        heat = Heat(examples.scale_of(run.numbers(cursor, key).statistics))
        largest = max(along.coefficients)
        percentile = queries.percentiles(cursor, {key: largest}).get(key)
    tokens = []
    for token, coefficient in zip(answer.tokens, along.coefficients, strict=True):
        known = run.vocabulary[token.token_id]
        title = f"{formats.token(known)}  {formats.number(coefficient)}"
        tokens.append(Tried(formats.token(known), heat.css(coefficient), title))
    summary = f"largest {formats.number(largest)}"
    if percentile is not None:
        summary += f", above {percentile:.4g} % of the corpus’s tokens"
    return _part("tried", tokens=tokens, problem=None, summary=summary)


def _part(name: str, **context: object) -> HTMLResponse:
    return HTMLResponse(templates.get_template(f"keys/{name}.html").render(context))
