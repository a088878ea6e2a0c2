"""`/activations`: paste code, choose a token, line or syntax node, and see which keys fire there and what they promote."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from keyscope.app.accounts.identity import needs
from keyscope.app.database.engine import Database
from keyscope.app.errors import InvalidParameter
from keyscope.app.live.activations import read_activations
from keyscope.app.live.client import LiveStatus, Workers
from keyscope.app.pages.live.reading import Reader, ReadingKey, probability, prompts_to_try
from keyscope.app.pages.live.text_lines import TextLine, text_lines
from keyscope.app.queries import parse_token
from keyscope.app.roles import Role
from keyscope.app.runs import Run
from keyscope.app.web.dependencies import LabelsDatabase, LiveWorkers
from keyscope.app.web.forms import PageState, Typed
from keyscope.app.web.key_table import Choice
from keyscope.app.web.links import Links
from keyscope.app.web.render import ChosenRun, Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Manifest
from keyscope.contract.wire import ActivationsAnswer, ActivationsRequest, Span, TextNode

router = APIRouter(dependencies=[needs(Role.LABELER)])  # it costs compute

PER_LAYER, MOST_PER_LAYER = 5, 50


class ActivationsState(PageState):
    """The state of the page in its address."""

    run: str = ""
    text: Typed = ""
    language: str = ""
    first: int | None = Field(None, ge=0)
    """First and last token examined; by default the text's last token."""
    last: int | None = Field(None, ge=0)
    target: str = ""
    """Token whose logit is split over the keys, as `Token.notation` writes it; else the most probable one."""
    distractor: str = ""
    """Token whose logit is subtracted from the target's."""
    per_layer: int = Field(PER_LAYER, ge=1, le=MOST_PER_LAYER)
    order: Literal["size", "contribution"] = "size"


@dataclass(frozen=True, slots=True)
class NextToken:
    """A candidate for the next token."""

    token: str
    notation: str
    probability: str
    target_href: str
    distractor_href: str
    is_target: bool
    is_distractor: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found at the chosen tokens."""

    lines: list[TextLine]
    nodes: list[Choice]
    """Syntax nodes around the chosen tokens, from the outermost to the innermost."""
    place: str
    """The chosen tokens, in words."""
    next: list[NextToken]
    target: str
    distractor: str | None
    keys: list[ReadingKey]


@dataclass(frozen=True, slots=True)
class ActivationsPage(Page):
    state: Annotated[ActivationsState, Help("Text and chosen tokens, as in the address")]
    runs: Annotated[list[tuple[Manifest, str]], Help("Runs to choose from, each with its address")]
    status: Annotated[LiveStatus | None, Help("Whether the run's model can read now; None without a run")]
    status_href: Annotated[str, Help("Address of this page, to poll the status")]
    examples: Annotated[list[tuple[str, list[tuple[str, str]]]], Help("Texts to try by language: title and address")]
    looked: Annotated[Looked | None, Help("Tokens, syntax nodes, next tokens and keys; None without a text")]
    problem: Annotated[str | None, Help("Why the text could not be read; None if it was")]


@router.get("/activations", name="activations_page")
async def activations_page(
    request: Request,
    chosen: ChosenRun,
    workers: LiveWorkers,
    database: LabelsDatabase,
    state: Annotated[ActivationsState, Query()],
) -> HTMLResponse:
    """Which keys fire on a text."""
    run, links = chosen.run, chosen.links
    looked, problem = None, None
    if run is not None and state.text:
        try:
            looked = await _look(run, workers, database, state, links)
        except KeyscopeError as error:
            problem = error.detail
    page = ActivationsPage(
        frame=Frame("Keys on my code", links, chosen.manifest),
        state=state,
        runs=[
            (each.manifest, links.page("activations_page", run=each.run_id, **state.query())) for each in chosen.runs
        ],
        status=await workers.status(run.manifest) if run else None,
        status_href=links.page("activations_page", run=chosen.run_id),
        examples=prompts_to_try(
            chosen.manifest,
            lambda language, text: links.page("activations_page", run=chosen.run_id, text=text, language=language),
        ),
        looked=looked,
        problem=problem,
    )
    return respond(request, "live/activations.html", page)


async def _look(run: Run, workers: Workers, database: Database, state: ActivationsState, links: Links) -> Looked:
    several = state.first is not None and state.last is not None and state.first != state.last
    asked = ActivationsRequest(
        run=run.run_id,
        text=state.text,
        token_index=state.last if not several else None,
        span=Span(first=min(state.first, state.last), last=max(state.first, state.last))
        if several and state.first is not None and state.last is not None
        else None,
        target=_token_id(run, state.target),
        distractor=_token_id(run, state.distractor),
        limit=state.per_layer,
        by_layer=True,
        order=state.order,
        language=state.language or None,
    )
    answer = await read_activations(run, workers, asked, database)
    reader = Reader(run, links, lambda other: other.page("activations_page", run=run.run_id, **state.query()))
    return _looked(answer, state, reader)


def _token_id(run: Run, notation: str) -> int | None:
    """Id of a token in its notation.

    Raises:
        InvalidParameter: the tokenizer has no such token.
    """
    if not notation:
        return None
    ids = run.vocabulary.ids(parse_token(notation))
    if not ids:
        alike = ", ".join(repr(each.notation) for each in run.vocabulary.alike(parse_token(notation))[:5])
        raise InvalidParameter(
            f"the tokenizer has no token {notation!r}: white space and case count"
            + (f"; similar tokens are {alike}" if alike else "")
        )
    return ids[0]


def _looked(answer: ActivationsAnswer, state: ActivationsState, reader: Reader) -> Looked:
    run = reader.run

    def choose(first: int, last: int) -> str:
        return reader.links.page("activations_page", run=run.run_id, **state.query(first=first, last=last)) + "#looked"

    tokens = [run.vocabulary[token.token_id] for token in answer.tokens]
    first, last = (answer.span.first, answer.span.last) if answer.span else (answer.token_index, answer.token_index)
    return Looked(
        lines=text_lines(tokens, range(first, last + 1), choose),
        nodes=[
            Choice(node.type, choose(node.first, node.last), (node.first, node.last) == (first, last))
            for node in _around(answer.nodes, first, last)
        ],
        place=f"token {first}" if first == last else f"tokens {first} to {last}",
        next=_next(answer, state, reader),
        target=reader.token(answer.target),
        distractor=None if answer.distractor is None else reader.token(answer.distractor),
        keys=reader.keys(answer),
    )


def _around(nodes: list[TextNode], first: int, last: int) -> list[TextNode]:
    """The nodes that contain the tokens, outermost first."""
    holding = [node for node in nodes if node.first <= first and last <= node.last]
    return sorted(holding, key=lambda node: node.depth)


def _next(answer: ActivationsAnswer, state: ActivationsState, reader: Reader) -> list[NextToken]:
    found = []
    for each in answer.next:
        notation = reader.run.vocabulary[each.token_id].notation

        def leads(changes: dict[str, str]) -> str:
            return reader.links.page("activations_page", run=reader.run.run_id, **state.query(**changes)) + "#looked"

        found.append(
            NextToken(
                token=reader.token(each),
                notation=notation,
                probability=probability(each.logprob),
                target_href=leads({"target": notation}),
                distractor_href=leads({"distractor": notation}),
                is_target=each.token_id == answer.target.token_id,
                is_distractor=answer.distractor is not None and each.token_id == answer.distractor.token_id,
            )
        )
    return found
