"""`/live`: mask keys and regenerate, baseline and masked side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from keyscope.app import queries
from keyscope.app.accounts.identity import needs
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter, NotFound
from keyscope.app.live.activations import read_activations
from keyscope.app.live.client import LiveStatus, Workers
from keyscope.app.live.effects import DOSES
from keyscope.app.pages.live import generated
from keyscope.app.pages.live.generated import Outcome, Streamed
from keyscope.app.pages.live.reading import prompts_to_try
from keyscope.app.roles import Role
from keyscope.app.runs import Registry, Run
from keyscope.app.web.baskets import shortened
from keyscope.app.web.dependencies import LabelsDatabase, LiveWorkers, Runs
from keyscope.app.web.forms import BlankIsNone, PageState, Typed, see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, choose_run, respond, templates
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import (
    InvalidKey,
    InvalidMask,
    KeyId,
    Mask,
    Scale,
    parse_basket,
    parse_operation,
    unique_masks,
)
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ActivationsRequest, Alternative, GenerateRequest, KeyActivity, Positions, Span

router = APIRouter(dependencies=[needs(Role.LABELER)])  # it costs compute


class LiveState(PageState):
    """The state of the page, in its address or form."""

    not_in_query: ClassVar[set[str]] = {"run", "mask", "key", "factor", "add", "remove", "all", "onward"}

    run: str = ""
    prompt: Typed = ""
    max_new_tokens: int = Field(48, ge=1)
    temperature: float = Field(0.0, ge=0, le=10, allow_inf_nan=False)
    seed: int = Field(0, ge=0, lt=2**63)
    top_logprobs: int = Field(5, ge=0, le=50)
    positions: Literal["both", "prompt", "generated"] = "both"
    """Tokens on which the masks act, unless a span is given."""
    span: Annotated[str, Field(pattern=r"^(\d{1,6}-\d{1,6})?$")] = ""
    """First and last token on which the masks act, counted from 0: `3-7`."""
    key: list[str] = Field(default_factory=list)
    """Masked keys as the form lists them, parallel to `factor`."""
    factor: list[str] = Field(default_factory=list)
    """What becomes of each: a factor, or a number in the coefficient's place after `=`."""
    add: str = ""
    """Keys to add to the basket, in an address's notation."""
    remove: str = ""
    """A key to remove from the basket."""
    all: Annotated[float | None, BlankIsNone] = Field(None, allow_inf_nan=False)
    """The factor that every key of the basket gets."""
    onward: Literal["live", "lens"] = "live"
    """The page to go on to."""
    behind: int = Field(0, ge=0, le=500)
    """How many keys that promote the next token to list."""

    @property
    def edits_basket(self) -> bool:
        """Whether a form changed the basket, so the address must be rebuilt."""
        return bool(self.key or self.add or self.remove or self.all is not None)

    @property
    def acting(self) -> Positions:
        """Where the masks act.

        Raises:
            InvalidParameter: the span ends before it starts.
        """
        if not self.span:
            return self.positions
        first, last = map(int, self.span.split("-"))
        if last < first:
            raise InvalidParameter(
                f"the masks cannot act from token {first} to token {last}: write the first one first"
            )
        return Span(first=first, last=last)

    def masks(self, given: Sequence[Mask]) -> tuple[Mask, ...]:
        """The masks of the address after the form's changes, but for those it adds.

        Raises:
            InvalidMask, InvalidKey: a key or a factor cannot be read, or a key is masked in two ways.
        """
        if len(self.key) != len(self.factor):
            raise InvalidMask(f"{len(self.key)} keys came with {len(self.factor)} factors: give each key its own")
        listed = [
            Mask(KeyId.parse(key), parse_operation(factor)) for key, factor in zip(self.key, self.factor, strict=True)
        ]
        kept = [mask for mask in unique_masks([*given, *listed]) if str(mask.key) != self.remove]
        return tuple(kept if self.all is None else (Mask(mask.key, Scale(self.all)) for mask in kept))


@dataclass(frozen=True, slots=True)
class Giver:
    """A key that promotes the next token."""

    activity: KeyActivity
    href: str
    masked: bool


@dataclass(frozen=True, slots=True)
class Behind:
    """The keys that raise the logit of the next token most."""

    target: Alternative
    keys: list[Giver]
    mask_all: str
    """Address of this page with all of them masked as well."""


@dataclass(frozen=True, slots=True)
class LivePage(Page):
    state: Annotated[LiveState, Help("Prompt and sampling settings, as in the address")]
    runs: Annotated[list[tuple[Manifest, str]], Help("Runs to choose from, each with its address")]
    status: Annotated[LiveStatus | None, Help("Whether the run's model can generate now; None without a run")]
    status_href: Annotated[str, Help("Address of this page, to poll the status")]
    examples: Annotated[list[tuple[str, list[tuple[str, str]]]], Help("Prompts to try by language: title and address")]
    behind: Annotated[Behind | None, Help("Keys that promote the next token; None unless asked for")]
    doses: Annotated[tuple[int, ...], Help("How many keys behind the next token can be listed")]
    refusal: Annotated[str | None, Help("Why keys were not added; None if they were or none was asked for")]
    outcome: Annotated[Outcome | None, Help("Both branches, if the form was sent without a script")]
    problem: Annotated[str | None, Help("Why generation failed; None if it did not")]


@router.get("/live", name="live_page")
async def live_page(
    request: Request,
    registry: Runs,
    workers: LiveWorkers,
    state: Annotated[LiveState, Query()],
) -> Response:
    """The form; if it edited the basket, a redirect to the address with the new one."""
    visit = await run_in_threadpool(_visit, request, registry, workers, state)
    if visit.refusal:
        return await visit.page(status=422)
    if state.edits_basket:
        return see_other(visit.links.live(visit.run_id, **state.query()))
    try:
        return await visit.page(problem=visit.wrong_mask(), behind=await visit.keys_behind())
    except KeyscopeError as error:
        return await visit.page(problem=error.detail)


@router.post("/live", name="live_generate")
async def live_generate(
    request: Request,
    registry: Runs,
    workers: LiveWorkers,
    database: LabelsDatabase,
    state: Annotated[LiveState, Form()],
) -> Response:
    """Both branches, for browsers without scripts; the page's script reads the stream instead."""
    visit = await run_in_threadpool(_shortened_visit, request, registry, workers, state, database)
    if visit.run is None or not state.prompt:
        return await visit.page(
            problem="write a prompt to continue"
            if visit.run
            else "there are no runs yet: make one with `keyscope precompute`"
        )
    try:
        answer = await workers.generate(visit.run.manifest, visit.generate_request(visit.run))
    except KeyscopeError as error:
        return await visit.page(problem=error.detail)
    return await visit.page(outcome=generated.of_answer(state.prompt, answer))


@router.post("/live/outcome", name="live_outcome")
def live_outcome(streamed: Streamed) -> HTMLResponse:
    """Draw a generation that the page's script has streamed: the page's parts, without the page."""
    outcome = generated.of_stream(streamed)
    return HTMLResponse(templates.get_template("live/outcome.html").render(outcome=outcome))


@router.post("/live/masks", name="edit_masks")
async def edit_masks(
    request: Request,
    registry: Runs,
    workers: LiveWorkers,
    database: LabelsDatabase,
    state: Annotated[LiveState, Form()],
) -> Response:
    """Apply the form's changes to the masks; baskets too long for an address are saved."""
    visit = await run_in_threadpool(_shortened_visit, request, registry, workers, state, database)
    if visit.refusal:
        return await visit.page(status=422)
    if state.onward == "lens":
        return see_other(visit.links.page("lens_page", run=visit.run_id, prompt=state.prompt))
    return see_other(visit.links.live(visit.run_id, **state.query()))


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request for the page: its state, run and workers."""

    request: Request
    runs: list[Run]
    run: Run | None
    workers: Workers
    state: LiveState
    links: Links
    refusal: str | None
    """Why the keys of `state.add` were not added; None if they were."""

    @property
    def run_id(self) -> str | None:
        return self.run.run_id if self.run else None

    def wrong_mask(self) -> str | None:
        """Why the basket does not fit the run; None if it does."""
        try:
            for mask in self.links.basket.masks:
                if self.run:
                    queries.check_model_key(self.run.manifest, mask.key)
        except NotFound as error:
            return error.detail
        return None

    def generate_request(self, run: Run) -> GenerateRequest:
        return GenerateRequest(
            run=run.run_id,
            prompt=self.state.prompt,
            masks=list(self.links.basket.masks),
            max_new_tokens=self.state.max_new_tokens,
            temperature=self.state.temperature,
            seed=self.state.seed,
            top_logprobs=self.state.top_logprobs,
            positions=self.state.acting,
        )

    async def keys_behind(self) -> Behind | None:
        """The keys that promote the next token; None unless asked for.

        Raises:
            WorkerUnavailable, WorkerOtherWeights, WorkerRefused, WorkerFailed: nothing was read.
        """
        if self.run is None or not self.state.behind or not self.state.prompt:
            return None
        asked = ActivationsRequest(run=self.run.run_id, text=self.state.prompt, limit=self.state.behind)
        answer = await read_activations(self.run, self.workers, asked)
        run_id, basket = self.run.run_id, self.links.basket
        keys = [KeyId.parse(each.key) for each in answer.keys]
        everything = replace(basket, run_id=run_id).holding(*keys)
        return Behind(
            target=answer.target,
            keys=[
                Giver(activity, self.links.key(run_id, key), key in basket)
                for activity, key in zip(answer.keys, keys, strict=True)
            ],
            mask_all=self.links.with_basket(everything).live(run_id, **self.state.query(behind=0)),
        )

    async def page(
        self,
        outcome: Outcome | None = None,
        problem: str | None = None,
        behind: Behind | None = None,
        status: int = 200,
    ) -> HTMLResponse:
        manifest = self.run.manifest if self.run else None
        page = LivePage(
            frame=Frame("Mask and regenerate", self.links, manifest),
            state=self.state,
            runs=[(run.manifest, self.links.live(run.run_id, **self.state.query())) for run in self.runs],
            status=await self.workers.status(manifest) if manifest else None,
            status_href=self.links.live(self.run_id),
            examples=prompts_to_try(
                manifest, lambda _, prompt: self.links.live(self.run_id, **self.state.query(prompt=prompt))
            ),
            behind=behind,
            doses=DOSES,
            refusal=self.refusal,
            outcome=outcome,
            problem=problem,
        )
        # Drawing a large basket is slow; keep it off the event loop.
        return await run_in_threadpool(respond, self.request, "live/live.html", page, status)


def _visit(request: Request, registry: Registry, workers: Workers, state: LiveState) -> _Visit:
    """A visit to the named run, else to the first one.

    Raises:
        UnknownRun: there is no run of that name.
        InvalidMask, InvalidKey, UnknownBasket, DatabaseUnavailable: the basket cannot be read.
    """
    chosen = choose_run(request, registry, state.run, state.mask)
    given = chosen.links.basket
    masks = state.masks(given.masks)
    refusal = None
    try:
        masks = _with_added(masks, state.add, chosen.run)
    except (InvalidKey, InvalidMask, NotFound) as error:
        refusal = error.detail
    return _Visit(
        request, chosen.runs, chosen.run, workers, state, Links(request, replace(given, masks=masks)), refusal
    )


def _with_added(masks: tuple[Mask, ...], text: str, run: Run | None) -> tuple[Mask, ...]:
    """The masks and those of a text, which replace others of the same keys.

    Raises:
        InvalidMask, InvalidKey: the text cannot be read.
        UnknownLayer, UnknownKey: the run lacks one of its keys.
    """
    added = {mask.key: mask for mask in parse_basket(text)}
    for key in added:
        if run:
            queries.check_model_key(run.manifest, key)
    return (*(mask for mask in masks if mask.key not in added), *added.values())


def _shortened_visit(
    request: Request, registry: Registry, workers: Workers, state: LiveState, database: Database
) -> _Visit:
    """The same with a basket short enough for an address: forms may send any number of masks."""
    visit = _visit(request, registry, workers, state)
    return replace(visit, links=visit.links.with_basket(shortened(database, visit.links.basket)))
